//! The protobuf wire format, read without copying and written without intermediate structs
//! (<https://protobuf.dev/programming-guides/encoding/>).

mod read;
pub(crate) mod write;

pub(crate) use read::{Field, Reader, Wire};
