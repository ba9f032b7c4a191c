//! The services that a test has been through, in order. It travels as the header `X-Sense-Path: beorn,palantir`, and a service
//! calls only those that are not on it, so a test ends after three hops however the services are wired.

use http::{HeaderMap, HeaderName, HeaderValue};

use crate::Service;

const PATH: HeaderName = HeaderName::from_static("x-sense-path");

/// Each service at most once.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Path(Vec<Service>);

impl Path {
    /// What the caller says about the way so far. An empty path means that the test starts here; unknown names are ignored.
    pub(crate) fn read(headers: &HeaderMap) -> Self {
        let mut path = Self::default();
        let lists = headers.get_all(PATH).iter().filter_map(|list| list.to_str().ok());
        for service in lists.flat_map(|list| list.split(',')).filter_map(|name| Service::named(name.trim())) {
            path.visit(service);
        }
        path
    }

    /// Writes the path for the next service.
    pub(crate) fn write(&self, headers: &mut HeaderMap) {
        if let Ok(value) = HeaderValue::try_from(self.names().join(",")) {
            headers.insert(PATH, value);
        }
    }

    /// Adds a service; whether it was new.
    pub(crate) fn visit(&mut self, service: Service) -> bool {
        let new = !self.has(service);
        if new {
            self.0.push(service);
        }
        new
    }

    /// Whether the service has been visited.
    pub(crate) fn has(&self, service: Service) -> bool {
        self.0.contains(&service)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The names, in order.
    pub(crate) fn names(&self) -> Vec<&'static str> {
        self.0.iter().map(|service| service.name()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_read_once_per_service_and_written_back() {
        let mut headers = HeaderMap::new();
        assert!(Path::read(&headers).is_empty());
        headers.append(PATH, HeaderValue::from_static("arda, sauron,,arda"));
        headers.append(PATH, HeaderValue::from_static("beorn"));
        let mut path = Path::read(&headers);
        assert_eq!(path.names(), ["arda", "beorn"]);
        assert!(!path.visit(Service::Beorn) && path.visit(Service::Palantir) && path.has(Service::Palantir));
        path.write(&mut headers);
        assert_eq!(headers.get_all(PATH).iter().collect::<Vec<_>>(), ["arda,beorn,palantir"]);
    }
}
