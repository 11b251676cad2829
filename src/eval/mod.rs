//! How good a model is on labelled pictures: the figures of the field, a baseline beside them, a report to look at.

pub mod metrics;
