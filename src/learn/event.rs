//! What a training of the VCP modules tells while it runs.

use std::time::Duration;

use super::validation::Validated;
use super::vcp_training::Losses;

/// What happens during a training.
#[derive(Clone, Copy, Debug)]
pub enum Event<'a> {
    /// A line about what was found of the data set.
    Found(&'a str),
    /// What is learned from, before anything is computed.
    Data {
        /// Pictures learned from.
        pictures: usize,
        /// How many of them are anomalous.
        anomalous: usize,
        /// Pictures kept for validation.
        validation: usize,
    },
    /// A stage before the first step, and how much of it is done.
    Preparing {
        /// In words.
        stage: &'a str,
        /// Done.
        done: u64,
        /// In all.
        total: u64,
    },
    /// An earlier run goes on.
    Resumed {
        /// Epoch, from 1.
        epoch: usize,
        /// Steps of that epoch already taken.
        step: usize,
    },
    /// After a step.
    Step {
        /// Epoch, from 1.
        epoch: usize,
        /// Steps of this epoch taken.
        step: usize,
        /// Steps of an epoch.
        steps: usize,
        /// What the batch cost before the step.
        losses: Losses,
    },
    /// After an epoch.
    Epoch(&'a Epoch),
}

/// What an epoch brought.
#[derive(Clone, Debug, PartialEq)]
pub struct Epoch {
    /// From 1.
    pub epoch: usize,
    /// Mean over the epoch's steps.
    pub losses: Losses,
    /// On the pictures kept for validation, without changes and dropout.
    pub validation: Option<Validated>,
    /// Spent on learning since this process began the epoch.
    pub time: Duration,
    /// Pictures learned from since then.
    pub pictures: usize,
}
