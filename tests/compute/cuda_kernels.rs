//! The CUDA kernels' own sources, executed on the CPU, against plain Rust. `tests/gpu` runs the same cases on a card.

use crate::support::executor::{Executor, ORDERS, stream};
use crate::support::kernels::{
    Place, Random, TOLERANCE, WHOLE_TOLERANCE, maps, memory, post_vcp, preprocess, threshold,
};

/// Random shapes of each kind per order of threads.
const RANDOM: usize = 3;

fn places() -> impl Iterator<Item = Place> {
    ORDERS.into_iter().map(|order| {
        let machine = Executor::machine(order);
        let stream = stream(&machine);
        Place::new(format!("{order:?}"), machine, stream)
    })
}

#[test]
fn thresholds_are_exact() {
    for place in places() {
        threshold::check(&place, &threshold::CASES);
        threshold::check(&place, &threshold::random(&mut Random(1), RANDOM, 80));
    }
}

#[test]
fn preprocessing_equals_plain_rust_to_the_bit() {
    for place in places() {
        preprocess::check(&place, preprocess::SIZE, &preprocess::CASES, &preprocess::NV12);
        preprocess::check(&place, 15, &preprocess::random(&mut Random(2), RANDOM, 60), &[]);
        place.assert_reached("preprocess");
    }
}

#[test]
fn maps_and_scores_are_those_of_plain_rust() {
    for place in places() {
        maps::check(&place, &maps::CASES);
        maps::check(&place, &maps::random(&mut Random(3), RANDOM));
    }
}

#[test]
fn post_vcp_is_that_of_plain_rust() {
    for place in places() {
        post_vcp::check(&place, &post_vcp::CASES, TOLERANCE);
        post_vcp::check(&place, &post_vcp::random(&mut Random(4), RANDOM), TOLERANCE);
        place.assert_reached("post_vcp");
    }
}

#[test]
fn distances_to_a_memory_are_those_of_plain_rust() {
    for place in places() {
        memory::check_refusals(&place);
        memory::check_look_up(&place, &memory::cases(), TOLERANCE);
        memory::check_look_up(&place, &memory::random(&mut Random(6), RANDOM), TOLERANCE);
    }
}

#[test]
fn a_memory_joins_as_in_plain_rust() {
    for place in places() {
        memory::check_join(&place, &memory::JOINED);
        memory::check_join(&place, &memory::random_joined(&mut Random(7), RANDOM));
        for parts in [1, 3, 20] {
            memory::check_whole(&place, parts, WHOLE_TOLERANCE);
        }
    }
}
