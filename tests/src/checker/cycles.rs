//! Cycles in the graph, the worst kind first.

use std::collections::VecDeque;

use super::dependencies::{Edge, Graph};
use super::{Anomaly, Kind, Operation, Order};

/// One cycle for each knot of operations, of the worst kind that is in it: without any order, else
/// with that of sessions, else with that of time.
pub fn find(graph: &Graph, history: &[Operation]) -> Vec<Anomaly> {
    for order in [Order::None, Order::Session, Order::RealTime] {
        let found = find_with(graph, history, order);
        if !found.is_empty() {
            return found;
        }
    }
    Vec::new()
}

fn find_with(graph: &Graph, history: &[Operation], order: Order) -> Vec<Anomaly> {
    let ordered = move |edge: Edge| match edge {
        Edge::Session => order >= Order::Session,
        Edge::RealTime => order == Order::RealTime,
        _ => false,
    };
    let writes = move |edge| edge == Edge::WriteWrite || ordered(edge);
    let flow = move |edge| edge == Edge::WriteRead || writes(edge);
    let all = move |edge| edge == Edge::ReadWrite || flow(edge);
    let mut anomalies = Vec::new();
    for knot in knots(graph, &all) {
        let inside = |node: usize| knot.binary_search(&node).is_ok();
        let cycle = closing(graph, &knot, &inside, writes, writes)
            .map(|cycle| (Kind::G0, cycle))
            .or_else(|| {
                closing(graph, &knot, &inside, |e| e == Edge::WriteRead, flow)
                    .map(|cycle| (Kind::G1c, cycle))
            })
            .or_else(|| {
                closing(graph, &knot, &inside, |e| e == Edge::ReadWrite, flow)
                    .map(|cycle| (Kind::GSingle, cycle))
            })
            .or_else(|| {
                closing(graph, &knot, &inside, |e| e == Edge::ReadWrite, all)
                    .map(|cycle| (Kind::G2, cycle))
            });
        let (kind, cycle) = cycle.expect("a knot has a cycle");
        anomalies.push(Anomaly {
            kind,
            order,
            text: describe(&cycle, history),
        });
    }
    anomalies
}

/// A cycle that begins with an edge of one kind and comes back by edges of another.
fn closing(
    graph: &Graph,
    knot: &[usize],
    inside: &impl Fn(usize) -> bool,
    first: impl Fn(Edge) -> bool,
    rest: impl Fn(Edge) -> bool,
) -> Option<Vec<(usize, Edge)>> {
    for &from in knot {
        for &(to, edge) in graph.from(from) {
            if first(edge)
                && inside(to)
                && let Some(back) = path(graph, to, from, inside, &rest)
            {
                let mut cycle = vec![(from, edge)];
                cycle.extend(back);
                return Some(cycle);
            }
        }
    }
    None
}

/// The shortest way: each node with the edge by which it is left.
fn path(
    graph: &Graph,
    from: usize,
    to: usize,
    inside: &impl Fn(usize) -> bool,
    allowed: &impl Fn(Edge) -> bool,
) -> Option<Vec<(usize, Edge)>> {
    let mut came: Vec<Option<(usize, Edge)>> = vec![None; graph.len()];
    let mut queue = VecDeque::from([from]);
    while let Some(node) = queue.pop_front() {
        if node == to {
            let mut steps = Vec::new();
            let mut at = to;
            while at != from {
                let (before, edge) = came[at].expect("it was reached");
                steps.push((before, edge));
                at = before;
            }
            steps.reverse();
            return Some(steps);
        }
        for &(next, edge) in graph.from(node) {
            if allowed(edge) && inside(next) && next != from && came[next].is_none() {
                came[next] = Some((node, edge));
                queue.push_back(next);
            }
        }
    }
    None
}

fn describe(cycle: &[(usize, Edge)], history: &[Operation]) -> String {
    let mut text = String::new();
    for (node, edge) in cycle {
        // Moments in time say nothing by themselves.
        if let Some(operation) = history.get(*node) {
            text.push_str(&format!("\n  {operation} --{edge:?}-->"));
        }
    }
    text.push_str(" the first");
    text
}

/// The strongly connected components of more than one node, each sorted (Tarjan, without
/// recursion).
fn knots(graph: &Graph, allowed: &impl Fn(Edge) -> bool) -> Vec<Vec<usize>> {
    const NEW: usize = usize::MAX;
    let count = graph.len();
    let (mut index, mut low) = (vec![NEW; count], vec![NEW; count]);
    let mut on_stack = vec![false; count];
    let (mut stack, mut found) = (Vec::new(), Vec::new());
    let mut next_index = 0;
    for root in 0..count {
        if index[root] != NEW {
            continue;
        }
        let mut walk = vec![(root, 0)];
        while let Some((node, edge)) = walk.pop() {
            if edge == 0 {
                index[node] = next_index;
                low[node] = next_index;
                next_index += 1;
                stack.push(node);
                on_stack[node] = true;
            }
            if let Some(&(to, kind)) = graph.from(node).get(edge) {
                walk.push((node, edge + 1));
                if !allowed(kind) {
                    continue;
                }
                if index[to] == NEW {
                    walk.push((to, 0));
                } else if on_stack[to] {
                    low[node] = low[node].min(index[to]);
                }
                continue;
            }
            if low[node] == index[node] {
                let mut knot = Vec::new();
                while let Some(member) = stack.pop() {
                    on_stack[member] = false;
                    knot.push(member);
                    if member == node {
                        break;
                    }
                }
                if knot.len() > 1 {
                    knot.sort_unstable();
                    found.push(knot);
                }
            }
            if let Some(&(parent, _)) = walk.last() {
                low[parent] = low[parent].min(low[node]);
            }
        }
    }
    found
}
