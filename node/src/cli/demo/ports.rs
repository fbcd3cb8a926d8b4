//! Which ports a demo uses.

use std::net::{Ipv4Addr, TcpListener, UdpSocket};

use super::super::error::{CliError, CliResult};

/// The ports of one demo.
#[derive(Debug, Clone)]
pub(super) struct Ports {
    nodes: Vec<NodePorts>,
    /// The stand-in origin's.
    pub(super) origin: u16,
}

#[derive(Debug, Clone, Copy, Default)]
struct NodePorts {
    http: u16,
    https: u16,
    admin: u16,
    mesh: u16,
}

impl Ports {
    /// Counts the ports from `base` (node i: HTTP base+i, HTTPS and HTTP/3 base+363+i, admin base+1000+i, mesh base-1000+i; the
    /// origin base-10) and checks that all are free; 0 = any free ones.
    pub(super) fn choose(base: u16, nodes: u32, with_origin: bool) -> CliResult<Self> {
        let mut taken = Vec::new();
        // Every socket is kept until all ports are chosen, so that none is chosen twice.
        let mut held: Vec<Box<dyn std::any::Any>> = Vec::new();
        let mut hold = |wanted: u16, udp: bool| {
            let address = (Ipv4Addr::LOCALHOST, wanted);
            let bound = if udp {
                UdpSocket::bind(address).and_then(|socket| {
                    Ok((socket.local_addr()?.port(), Box::new(socket) as Box<dyn std::any::Any>))
                })
            } else {
                TcpListener::bind(address).and_then(|socket| {
                    Ok((socket.local_addr()?.port(), Box::new(socket) as Box<dyn std::any::Any>))
                })
            };
            match bound {
                Ok((port, socket)) => {
                    held.push(socket);
                    port
                }
                Err(error) => {
                    taken.push(format!("{wanted}/{}: {error}", if udp { "udp" } else { "tcp" }));
                    0
                }
            }
        };
        if base != 0 && !(1_011..=63_000).contains(&base) {
            return Err(CliError::usage(format!("--base-port {base} leaves no room"))
                .help("choose one from 1011 to 63000, or 0 for any free ports"));
        }
        let count = u16::try_from(nodes).unwrap_or(u16::MAX);
        let at = |offset: u16| if base == 0 { 0 } else { offset };
        let nodes = (0..count)
            .map(|index| NodePorts {
                http: hold(at(base.wrapping_add(index)), false),
                https: hold_both(at(base.wrapping_add(363 + index)), &mut hold),
                admin: hold(at(base.wrapping_add(1_000 + index)), false),
                mesh: hold(at(base.wrapping_sub(1_000).wrapping_add(index)), true),
            })
            .collect();
        let origin = if with_origin { hold(at(base.wrapping_sub(10)), false) } else { 0 };
        drop(held);
        if taken.is_empty() {
            return Ok(Self { nodes, origin });
        }
        let error = CliError::failed(format!("{} ports are taken", taken.len()))
            .help("--base-port P moves them all; --base-port 0 takes any free ones");
        Err(taken.into_iter().fold(error, CliError::cause))
    }

    fn node(&self, index: u32) -> NodePorts {
        usize::try_from(index)
            .ok()
            .and_then(|index| self.nodes.get(index))
            .copied()
            .unwrap_or_default()
    }

    /// The data port of node `index`, from 0.
    pub(super) fn http(&self, index: u32) -> u16 {
        self.node(index).http
    }

    /// Its data port over TLS (TCP and UDP).
    pub(super) fn https(&self, index: u32) -> u16 {
        self.node(index).https
    }

    /// Its admin port.
    pub(super) fn admin(&self, index: u32) -> u16 {
        self.node(index).admin
    }

    /// Its mesh port (UDP).
    pub(super) fn mesh(&self, index: u32) -> u16 {
        self.node(index).mesh
    }
}

/// A port that is free for TCP and for UDP.
fn hold_both(wanted: u16, hold: &mut impl FnMut(u16, bool) -> u16) -> u16 {
    if wanted != 0 {
        hold(wanted, false);
        return hold(wanted, true);
    }
    // Which one is free for TCP says nothing about UDP, but nearly always it is.
    loop {
        let port = hold(0, false);
        if port == 0 || UdpSocket::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return port;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn free_ports_are_all_different() {
        let ports = Ports::choose(0, 3, true).unwrap();
        let mut tcp: Vec<u16> =
            (0..3).flat_map(|i| [ports.http(i), ports.https(i), ports.admin(i)]).collect();
        tcp.push(ports.origin);
        tcp.sort_unstable();
        tcp.dedup();
        assert_eq!(tcp.len(), 10);
        assert!(!tcp.contains(&0));
    }

    #[test]
    fn every_taken_port_is_named_at_once() {
        // Two neighbours whose upper one is free for the base; the held listener takes its port.
        let holder = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = holder.local_addr().unwrap().port();
        if !(1_011..=63_000).contains(&port) {
            return;
        }
        let error = Ports::choose(port, 1, false).unwrap_err().to_string();
        assert!(error.contains(&port.to_string()), "{error}");
        assert!(error.contains("--base-port"), "{error}");
    }
}
