from __future__ import annotations

import time

from hypothesis import given, settings
from hypothesis import strategies as st

from corral.models.live import SAMPLES_MIN, Fading, Live


@settings(deadline=None)
@given(
    values=st.lists(st.floats(0.002, 600), min_size=SAMPLES_MIN, max_size=300), share=st.sampled_from([0.5, 0.9, 0.95])
)
def test_a_quantile_is_at_most_one_bucket_too_high(values, share):
    fading = Fading(60)
    for value in values:
        fading.observe(value, 0)
    found = fading.quantile(share, 0)
    ordered = sorted(values)
    exact = ordered[min(len(ordered) - 1, max(0, -int(-len(ordered) * share // 1) - 1))]
    assert exact <= found * 1.0001
    assert found <= max(exact * 1.16, 0.0012)


def test_few_values_say_nothing_and_old_ones_are_forgotten():
    fading = Fading(60)
    for _ in range(SAMPLES_MIN - 1):
        fading.observe(1.0, 0)
    assert fading.quantile(0.95, 0) is None
    fading.observe(1.0, 0)
    assert fading.quantile(0.95, 0) is not None
    assert fading.quantile(0.95, 119) is not None
    assert fading.quantile(0.95, 200) is None


def test_what_is_new_outweighs_what_is_old():
    fading = Fading(60)
    for _ in range(100):
        fading.observe(10.0, 0)
    for _ in range(100):
        fading.observe(0.1, 61)
    assert fading.quantile(0.6, 115) < 0.2
    assert fading.quantile(0.99, 62) > 5


def test_errors_are_forgiven_in_time():
    live = Live()
    for _ in range(10):
        live.failed(0)
    assert live.error_rate(0) > 0.8
    assert live.error_rate(300) < 0.01
    live.answered(first_s=1, total_s=2, stream=True, now=0)
    assert live.error_rate(0) < 0.8
    assert live.recent_latency_s(10) == 1
    assert live.recent_latency_s(1000) is None


def test_counting_a_call_is_cheap():
    live = Live()
    rounds = 20_000
    started = time.process_time()
    for number in range(rounds):
        live.answered(first_s=0.2, total_s=1.0, stream=True, now=number / 100)
    assert (time.process_time() - started) / rounds < 100e-6, "2 microseconds; far more where coverage is measured"
