#![allow(clippy::unwrap_used)]

mod files;
mod fixtures;
mod kept;
mod like_the_model;
mod members;
mod pages;
mod promises;
mod random;
