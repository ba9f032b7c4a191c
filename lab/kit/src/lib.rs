//! What the lab's services share: the OpenTelemetry SDK of a process, W3C context on the way in and out, servers and clients
//! that are observed, Prometheus metrics, and a stop in good time. It knows none of the services.

mod answer;
mod ask;
mod baggage;
mod call;
mod callbacks;
mod delivery;
mod exposition;
mod json_log;
mod observe;
mod propagation;
mod random;
mod requests;
mod stop;
pub mod telemetry;
mod trace_context;

pub use answer::{allow_any_origin, json_body, refusal};
pub use ask::{Answer, Asker, query_string};
pub use call::Caller;
pub use callbacks::{CALLBACK_PATH, CallbackOptions, callbacks};
pub use delivery::describe;
pub use exposition::{CONTENT_TYPE, Counter, DEFAULT_BUCKETS, Histogram, gauge, process};
pub use observe::{Observer, Unrouted, attributes, finish, method_name, observe};
pub use propagation::{extract, inject};
pub use random::Random;
pub use requests::{CountRequests, Requests};
pub use stop::{Stop, serve};
pub use telemetry::Telemetry;
