"""Estimates of time from small programs as text, by hand."""

import pytest

from maskrep.train.estimate import by_cycles, by_roofline

pytestmark = pytest.mark.quick

TPU = '''
HloModule step
%body (p: (s32[], f32[8])) -> (s32[], f32[8]) {
  %p = (s32[], f32[8]) parameter(0)
  %x = f32[8] get-tuple-element(%p), index=1
  %add = f32[8] add(%x, %x), backend_config={"window_config":{"estimated_cycles":"100"}}
  ROOT %t = (s32[], f32[8]) tuple(%x, %add)
}
%condition (p: (s32[], f32[8])) -> pred[] {
  %p.1 = (s32[], f32[8]) parameter(0)
  %bound = s32[]{:T(128)} constant(3)
  %i = s32[] get-tuple-element(%p.1), index=0
  ROOT %less = pred[] compare(%i, %bound), direction=LT
}
ENTRY %main (a: (s32[], f32[8])) -> (s32[], f32[8]) {
  %a = (s32[], f32[8]) parameter(0)
  %dot = f32[8] fusion(%a), calls=%in, metadata={op_name="dot_general"}, backend_config={"estimated_cycles":"500"}
  %copy = f32[8] copy(%dot), backend_config={"estimated_cycles":"200"}
  ROOT %loop = (s32[], f32[8]) while(%a), condition=%condition, body=%body
}
'''
GPU = '''
ENTRY %main (a: bf16[1024,512], b: bf16[512,256]) -> bf16[1024,256] {
  %a = bf16[1024,512]{1,0} parameter(0)
  %b = bf16[512,256]{1,0} parameter(1)
  %product = (bf16[1024,256]{1,0}, s8[4096]{0}) custom-call(%a, %b), custom_call_target="__cublas$lt$matmul", backend_config={"gemm_backend_config":{"dot_dimension_numbers":{"lhs_contracting_dimensions":["1"],"rhs_contracting_dimensions":["0"]}}}
  %y = bf16[1024,256]{1,0} get-tuple-element(%product), index=0
  %sum = f32[] all-reduce(%y), to_apply=%add
  ROOT %gelu = bf16[1024,256]{1,0} fusion(%y), kind=kLoop, calls=%inner
}
'''  # noqa: E501


def test_cycles_of_loops_count_with_their_length_also_if_their_condition_alone_has_it():
  found = by_cycles(TPU, clock=1000.0)
  assert found.parts == {'matrix products': 0.5, 'element-wise and others': 0.3, 'copies': 0.2}
  assert found.seconds == pytest.approx(1.0)
  known = TPU.replace('body=%body', 'body=%body, backend_config={"known_trip_count":{"n":"7"}}')
  assert by_cycles(known, clock=1000.0).seconds == pytest.approx(1.4)


def test_a_kernel_takes_the_longer_of_its_bytes_and_its_operations():
  moved = 2 * (1024 * 512 + 512 * 256 + 1024 * 256), 2 * 2 * 1024 * 256
  slow_memory = by_roofline(GPU, flops=1e18, bandwidth=1e9)
  assert slow_memory.parts['matrix products'] == pytest.approx(moved[0] / 1e9, rel=1e-2)
  assert slow_memory.parts['element-wise and others'] == pytest.approx(moved[1] / 1e9, rel=1e-2)
  slow_products = by_roofline(GPU, flops=1e12, bandwidth=1e15)
  assert slow_products.parts['matrix products'] == pytest.approx(2 * 1024 * 512 * 256 / 0.75e12, rel=1e-1)


ATTENTION = '''
ENTRY %main (q: bf16[8,38,12,64]) -> bf16[8,12,38,64] {
  %q = bf16[8,38,12,64]{3,2,1,0} parameter(0)
  %k = bf16[8,38,12,64]{3,2,1,0} parameter(1)
  ROOT %o = (bf16[8,12,38,64]{3,1,2,0}, u8[0]{0}) custom-call(%q, %k, %k), custom_call_target="__cudnn$fmhaSoftmax"
}
'''
UPDATE = '''
ENTRY %main (views: f32[10,64], one: f32[32]) -> f32[10,64] {
  %views = f32[10,64]{1,0} parameter(0)
  %one = f32[32]{0} parameter(1)
  ROOT %new = f32[10,64]{1,0} fusion(%views, %one), kind=kLoop, calls=%in, metadata={op_name="dynamic_update_slice"}
}
'''


def test_fused_attention_is_two_products_and_five_backwards():
  found = by_roofline(ATTENTION, flops=1e9, bandwidth=1e15)
  products = 2 * 8 * 12 * 38 * 38 * 64
  assert found.parts == {'matrix products': pytest.approx(2 * products / 0.75e9, rel=1e-2)}
  backwards = by_roofline(ATTENTION.replace('Softmax"', 'SoftmaxBackward"'), flops=1e9, bandwidth=1e15)
  assert backwards.seconds == pytest.approx(5 * products / 0.75e9, rel=1e-2)


def test_a_slice_that_is_updated_in_place_moves_only_itself():
  assert by_roofline(UPDATE, flops=1e15, bandwidth=1e3).seconds == pytest.approx(2 * 32 * 4 / 1e3, rel=1e-2)
