//! Ports for processes that must be told theirs, and get the same one again after a restart.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::atomic::{AtomicU16, Ordering};

/// Below the ports that the system gives to outgoing connections: a port from those may be somebody's by the time a killed
/// process is started again.
const LOWEST: u16 = 10_000;
const COUNT: u16 = 18_000;

static TAKEN: AtomicU16 = AtomicU16::new(0);

/// A port of the loopback that nobody listens on; never the same twice in one process.
pub fn unused() -> SocketAddr {
    // Two runs at a time begin at different ports.
    let first = std::process::id().wrapping_mul(61);
    loop {
        let next = first.wrapping_add(u32::from(TAKEN.fetch_add(1, Ordering::Relaxed))) % u32::from(COUNT);
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, LOWEST + u16::try_from(next).unwrap()));
        if TcpListener::bind(address).is_ok() {
            return address;
        }
    }
}
