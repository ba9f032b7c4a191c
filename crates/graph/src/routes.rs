//! Where the requests from one service to another are counted, found by who the two are and not by their names.

use std::sync::Arc;

use foldhash::fast::RandomState;
use hashbrown::HashMap;

use crate::edges::{Connection, Edge};

/// Routes that are remembered; past that they are worked out anew.
const REMEMBERED: usize = 10_000;

/// By the places in memory of the two names: each is held here, so that no other name comes to stand in its place.
#[derive(Debug, Default)]
pub(crate) struct Routes(HashMap<(usize, usize, Connection), Route, RandomState>);

#[derive(Debug)]
struct Route {
    at: usize,
    _names: [Option<Arc<str>>; 2],
}

fn place(name: &Option<Arc<str>>) -> usize {
    name.as_ref().map_or(0, |name| name.as_ptr().addr())
}

fn key(edge: &Edge) -> (usize, usize, Connection) {
    (place(&edge.client), place(&edge.server), edge.connection)
}

impl Routes {
    /// Where requests like this one are counted, if that is known.
    pub(crate) fn get(&self, edge: &Edge) -> Option<usize> {
        self.0.get(&key(edge)).map(|route| route.at)
    }

    /// It is known from now on.
    pub(crate) fn insert(&mut self, edge: &Edge, at: usize) {
        if self.0.len() >= REMEMBERED {
            self.0.clear();
        }
        self.0.insert(key(edge), Route { at, _names: [edge.client.clone(), edge.server.clone()] });
    }

    pub(crate) fn clear(&mut self) {
        self.0.clear();
    }
}
