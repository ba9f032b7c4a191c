//! The lab's parts as real processes, seen from outside.
#![allow(clippy::unwrap_used)]

mod common;
mod sense;
mod shop;
mod supervisor;
mod tasks;
mod telemetry;
mod trace_context;
