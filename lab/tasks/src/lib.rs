//! The task manager, to observe: browser page → reverse proxy → REST backend → SQL database. One trace goes from the click to
//! the query.

pub mod backend;
pub mod proxy;

/// The backend's port unless told otherwise.
pub const BACKEND_PORT: u16 = 5000;
/// The proxy's port unless told otherwise.
pub const PROXY_PORT: u16 = 8081;
