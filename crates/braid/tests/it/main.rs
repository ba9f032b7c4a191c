//! The binary from outside: started on free ports over a temporary directory, spoken to over the network, stopped by its id.

mod asking;
mod braid;
mod client;
mod configuration;
mod correlate;
mod dashboards;
mod deleting;
mod disk;
mod exporters;
mod grpc;
mod hostile;
mod lifecycle;
mod locks;
mod loki;
mod overload;
mod protobuf;
mod queries;
mod receivers;
mod scraping;
mod tempo;
mod tenants;
mod transfer;
mod verify;
