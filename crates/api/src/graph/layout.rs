//! Places for the nodes of a directed graph, in layers from left to right (after Sugiyama): what asks stands left of what is
//! asked. The same graph is laid out the same way every time.

use serde_json::Value as Json;

/// Between two layers, and between two nodes of one.
const STEP_X: f64 = 240.0;
const STEP_Y: f64 = 110.0;
/// Around the whole.
const MARGIN: f64 = 60.0;
/// How often the order inside the layers is improved, there and back.
const SWEEPS: usize = 8;

/// Where a node stands.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Place {
    pub(super) layer: usize,
    /// Of its centre, in the units of `width` and `height`.
    pub(super) x: f64,
    pub(super) y: f64,
}

/// Places of all nodes.
#[derive(Debug, PartialEq)]
pub(super) struct Places {
    pub(super) nodes: Vec<Place>,
    pub(super) width: Json,
    pub(super) height: Json,
}

/// Lays out `count` nodes, numbered in the order that decides ties.
pub(super) fn layout(count: usize, edges: &[(usize, usize)]) -> Places {
    let edges = without_cycles(count, edges);
    let layer = layers(count, &edges);
    let deepest = layer.iter().copied().max().unwrap_or(0);
    let mut rows: Vec<Vec<usize>> = vec![Vec::new(); deepest + 1];
    (0..count).for_each(|node| rows[layer[node]].push(node));
    let (mut asked_by, mut asks) = (vec![Vec::new(); count], vec![Vec::new(); count]);
    for (from, to) in &edges {
        asks[*from].push(*to);
        asked_by[*to].push(*from);
    }
    for sweep in 0..SWEEPS {
        let (near, forth) = if sweep % 2 == 0 { (&asked_by, true) } else { (&asks, false) };
        let mut order: Vec<usize> = (0..rows.len()).collect();
        if !forth {
            order.reverse();
        }
        for row in order {
            let middle = middles(&rows);
            let centre = |node: &usize| {
                let near = &near[*node];
                if near.is_empty() { middle[*node] } else { near.iter().map(|n| middle[*n]).sum::<f64>() / near.len() as f64 }
            };
            rows[row].sort_by(|a, b| centre(a).total_cmp(&centre(b)).then_with(|| a.cmp(b)));
        }
    }
    let tallest = rows.iter().map(Vec::len).max().unwrap_or(0).max(1);
    let middle = middles(&rows);
    let half = (tallest - 1) as f64 / 2.0;
    let nodes = (0..count)
        .map(|node| Place {
            layer: layer[node],
            x: MARGIN + layer[node] as f64 * STEP_X,
            y: MARGIN + (middle[node] + half) * STEP_Y,
        })
        .collect();
    let size = |steps: usize, step: f64| Json::from(2.0 * MARGIN + steps as f64 * step);
    Places { nodes, width: size(deepest, STEP_X), height: size(tallest - 1, STEP_Y) }
}

/// How far each node is from the middle of its layer, in nodes.
fn middles(rows: &[Vec<usize>]) -> Vec<f64> {
    let mut middle = vec![0.0; rows.iter().map(Vec::len).sum()];
    for row in rows {
        for (i, node) in row.iter().enumerate() {
            middle[*node] = i as f64 - (row.len() - 1) as f64 / 2.0;
        }
    }
    middle
}

/// The edges without loops, where those that close a cycle are turned round.
fn without_cycles(count: usize, edges: &[(usize, usize)]) -> Vec<(usize, usize)> {
    let mut next = vec![Vec::new(); count];
    let mut entered = vec![0usize; count];
    for (from, to) in edges.iter().filter(|(from, to)| from != to) {
        next[*from].push(*to);
        entered[*to] += 1;
    }
    next.iter_mut().for_each(|n| {
        n.sort_unstable();
        n.dedup();
    });
    // Depth first from those that nobody asks, then from whatever is left; without recursion, as chains may be long.
    let mut roots: Vec<usize> = (0..count).filter(|n| entered[*n] == 0).collect();
    roots.extend(0..count);
    let (mut state, mut out) = (vec![0u8; count], Vec::new());
    for root in roots {
        if state[root] != 0 {
            continue;
        }
        state[root] = 1;
        let mut path = vec![(root, 0)];
        while let Some((node, at)) = path.last_mut() {
            let node = *node;
            match next[node].get(*at) {
                None => {
                    state[node] = 2;
                    path.pop();
                }
                Some(to) => {
                    *at += 1;
                    let to = *to;
                    // On the path already: this edge closes a cycle.
                    out.push(if state[to] == 1 { (to, node) } else { (node, to) });
                    if state[to] == 0 {
                        state[to] = 1;
                        path.push((to, 0));
                    }
                }
            }
        }
    }
    out.sort_unstable();
    out.dedup();
    out
}

/// The longest way to each node from one that nobody asks.
fn layers(count: usize, edges: &[(usize, usize)]) -> Vec<usize> {
    let (mut next, mut open) = (vec![Vec::new(); count], vec![0usize; count]);
    for (from, to) in edges {
        next[*from].push(*to);
        open[*to] += 1;
    }
    let mut layer = vec![0; count];
    let mut ready: Vec<usize> = (0..count).filter(|n| open[*n] == 0).collect();
    while let Some(node) = ready.pop() {
        for to in &next[node] {
            layer[*to] = layer[*to].max(layer[node] + 1);
            open[*to] -= 1;
            if open[*to] == 0 {
                ready.push(*to);
            }
        }
    }
    layer
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layers_of(count: usize, edges: &[(usize, usize)]) -> Vec<usize> {
        layout(count, edges).nodes.iter().map(|p| p.layer).collect()
    }

    #[test]
    fn what_is_asked_stands_right_of_what_asks() {
        assert_eq!(layers_of(4, &[(0, 1), (1, 2), (0, 2), (2, 3)]), [0, 1, 2, 3]);
        assert_eq!(layers_of(3, &[]), [0, 0, 0]);
        assert_eq!(layers_of(0, &[]), Vec::<usize>::new());
    }

    #[test]
    fn cycles_and_loops_end() {
        assert_eq!(layers_of(3, &[(0, 1), (1, 2), (2, 0), (1, 1)]), [0, 1, 2]);
        let ring: Vec<(usize, usize)> = (0..1000).map(|i| (i, (i + 1) % 1000)).collect();
        assert_eq!(layers_of(1000, &ring), (0..1000).collect::<Vec<_>>());
    }

    #[test]
    fn no_two_nodes_share_a_place_and_all_are_inside() {
        let edges: Vec<(usize, usize)> = (0..60).flat_map(|i| [(i, (i * 7 + 3) % 60), (i, (i * 11 + 5) % 60)]).collect();
        let places = layout(60, &edges);
        let (width, height) = (places.width.as_f64().expect("a number"), places.height.as_f64().expect("a number"));
        for (i, a) in places.nodes.iter().enumerate() {
            assert!(a.x >= 0.0 && a.x <= width && a.y >= 0.0 && a.y <= height, "{a:?}");
            assert!(places.nodes[..i].iter().all(|b| (a.x, a.y) != (b.x, b.y)), "{a:?}");
        }
        assert_eq!(layout(60, &edges), places);
    }

    #[test]
    fn lines_that_need_not_cross_do_not() {
        // 0 asks 3, 1 asks 2: the right layer is turned so that they run side by side.
        let places = layout(4, &[(0, 3), (1, 2)]).nodes;
        assert!((places[0].y < places[1].y) == (places[3].y < places[2].y));
    }
}
