//! The circuits that people have tested: a small network, so that each circuit is tested again and again.

use kit::{Random, query_string};
use opentelemetry::baggage::BaggageExt;
use opentelemetry::{Context, KeyValue};

const CIRCUITS: [&str; 8] =
    ["CIRCUIT-101", "CIRCUIT-102", "CIRCUIT-103", "CIRCUIT-104", "CIRCUIT-105", "CIRCUIT-106", "CIRCUIT-107", "CIRCUIT-108"];
const PRODUCTS: [&str; 3] = ["ELINE", "ELAN", "WAVELENGTH"];
/// What a resource is called, and of which type it is.
const RESOURCES: [(&str, &str); 4] = [("NE-1-PORT-3", "PORT"), ("NE-2-PORT-1", "PORT"), ("NE-2", "NODE"), ("FIBRE-12", "LINK")];

/// A circuit with what belongs to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Circuit {
    circuit: &'static str,
    product: &'static str,
    resource: &'static str,
    resource_type: &'static str,
}

impl Circuit {
    /// Product and resource follow from the circuit.
    pub(super) fn choose(random: &mut Random) -> Self {
        let at = (random.unit() * CIRCUITS.len() as f64) as usize % CIRCUITS.len();
        let (resource, resource_type) = RESOURCES[at % RESOURCES.len()];
        Self { circuit: CIRCUITS[at], product: PRODUCTS[at % PRODUCTS.len()], resource, resource_type }
    }

    /// Where a service tests it.
    pub(super) fn url(self, service: &str) -> String {
        format!("{service}/api/test?{}", query_string(&[("circuit_id", self.circuit)]))
    }

    /// A context whose baggage has the keys. There is no `request_id`: the service that is asked makes it.
    pub(super) fn context(self) -> Context {
        Context::new().with_baggage([
            KeyValue::new("circuit_id", self.circuit),
            KeyValue::new("product_id", self.product),
            KeyValue::new("resource_id", self.resource),
            KeyValue::new("resource_type_id", self.resource_type),
        ])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_circuit_is_chosen_and_has_always_the_same_things() {
        let mut random = Random::new(5);
        let chosen: Vec<Circuit> = (0..500).map(|_| Circuit::choose(&mut random)).collect();
        for name in CIRCUITS {
            let mut same = chosen.iter().filter(|circuit| circuit.circuit == name);
            let first = same.next();
            assert!(first.is_some() && same.all(|circuit| Some(circuit) == first), "{name}");
        }
        let circuit = chosen[0];
        assert_eq!(circuit.url("http://x"), format!("http://x/api/test?circuit_id={}", circuit.circuit));
        assert_eq!(circuit.context().baggage().len(), 4);
    }
}
