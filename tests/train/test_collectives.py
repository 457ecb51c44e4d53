"""Collectives are found in HLO text, and counted as often as their loops run."""

import pytest

from maskrep.train.collectives import Collective, collectives

pytestmark = pytest.mark.quick

HLO = """HloModule jit_step, entry_computation_layout={(f32[4]{0})->f32[4]{0}}

%add (a: f32[], b: f32[]) -> f32[] {
  %a = f32[] parameter(0)
  %b = f32[] parameter(1)
  ROOT %sum = f32[] add(%a, %b)
}

%inner (p: (s32[], f32[2,3])) -> (s32[], f32[2,3]) {
  %x = f32[2,3]{1,0} get-tuple-element(%p), index=1
  %all-reduce.1 = (f32[2,3]{1,0}, /*index=1*/bf16[5]{0}) all-reduce(%x, %y), channel_id=1, to_apply=%add
  ROOT %t = (s32[], f32[2,3]{1,0}) tuple(%i, %z)
}

%outer (p: (s32[], f32[2,3])) -> (s32[], f32[2,3]) {
  ROOT %while.1 = (s32[], f32[2,3]{1,0}) while(%p), body=%inner, backend_config={"known_trip_count":{"n":"4"}}
}

ENTRY %main (p: f32[4]) -> f32[4] {
  %while.2 = (s32[], f32[2,3]{1,0}) while(%t), body=%outer, backend_config={"known_trip_count":{"n":"3"}}
  %ag = (f32[4]{0}, f32[8]{0}) all-gather-start(%p), dimensions={0}
  %agd = f32[8]{0} all-gather-done(%ag)
  ROOT %cp = pred[7]{0} collective-permute(%q), source_target_pairs={{0,1}}
}
"""


def test_each_is_counted_with_its_loops():
  assert collectives(HLO) == [
    Collective('all-reduce', ((2, 3), (5,)), 6 * 4 + 5 * 2, 12),
    Collective('all-gather', ((8,),), 32, 1),
    Collective('collective-permute', ((7,),), 7, 1),
  ]
