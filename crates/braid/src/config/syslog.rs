//! `receivers.syslog`, as the Collector has it.

use std::net::SocketAddr;

use collector::syslog::SyslogSettings;

use super::{ConfigError, Overrides, address, raw, units};

/// The largest message unless told otherwise, bytes.
const MAX_SIZE: usize = 64 << 10;

/// What `file` says.
pub(super) fn settings(
    name: &str,
    file: Option<&raw::Syslog>,
    overrides: &Overrides,
) -> Result<Option<SyslogSettings>, ConfigError> {
    let Some(file) = file else { return Ok(None) };
    let wrong = |key: &str, why: &str| ConfigError::value(name, &format!("receivers.syslog.{key}"), why);
    let listen = |key: &str, port: &Option<raw::SyslogPort>| -> Result<Option<SocketAddr>, ConfigError> {
        let Some(port) = port else { return Ok(None) };
        let key = format!("{key}.listen_address");
        let text = port.listen_address.as_ref().ok_or_else(|| wrong(&key, "is missing"))?;
        let mut at = address(text).map_err(|e| wrong(&key, &e))?;
        let moved = if overrides.free_ports { Some(0) } else { at.port().checked_add(overrides.port_offset) };
        at.set_port(moved.ok_or_else(|| wrong(&key, "the port would exceed 65535"))?);
        Ok(Some(at))
    };
    let (udp, tcp) = (listen("udp", &file.udp)?, listen("tcp", &file.tcp)?);
    if udp.is_none() && tcp.is_none() {
        return Err(ConfigError::value(name, "receivers.syslog", "neither udp nor tcp is configured"));
    }
    if file.udp.as_ref().is_some_and(|p| p.tls.is_some()) {
        return Err(wrong("udp.tls", "only streams have TLS"));
    }
    if let Some(other) = file.protocol.as_deref().filter(|p| !matches!(*p, "rfc3164" | "rfc5424")) {
        return Err(wrong("protocol", &format!("{other:?} is neither rfc3164 nor rfc5424")));
    }
    let mut max_size = MAX_SIZE;
    for port in [&file.udp, &file.tcp].into_iter().flatten() {
        if let Some(text) = &port.max_log_size {
            max_size = units::bytes(text).map_err(|e| wrong("max_log_size", &e))?;
        }
    }
    if !(64..=8 << 20).contains(&max_size) {
        return Err(wrong("max_log_size", "less than 64 bytes or more than 8MiB"));
    }
    let location = file.location.clone().unwrap_or_else(|| "UTC".to_owned());
    Ok(Some(SyslogSettings { udp, tcp, max_size, location }))
}
