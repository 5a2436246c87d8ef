//! Which servers may be connected to: names, addresses and networks of the operator's choice, `allowed_servers`.
//!
//! A name is judged by the addresses that the look-up gives, since whoever owns a name decides where it leads: a listed name may lead
//! to a public address, to an internal one only where its network is listed as well. So no name opens what listens on this machine
//! or in its network. Pure, except [`ServerGate`], through which every connection finds its addresses; its lock is held for a look.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use parking_lot::RwLock;

use super::endpoint::Host;
use super::names::Names;
use crate::blocking::Blocking;

/// The servers that may be connected to. Empty: all.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct AllowedServers(Arc<[Entry]>);

/// One of the list.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Entry {
    /// A name, in lower case.
    Name(String),
    /// Every name that ends so, with the dot; not the domain itself.
    Below(String),
    /// An address, with how many of its bits count.
    Network(IpAddr, u8),
    /// What cannot be understood allows nothing.
    Bad(String),
}

/// A server that is not on the list.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum NotAllowed {
    /// Neither the name nor any network is.
    #[error("allowed_servers does not list {0}")]
    Host(String),
    /// The name leads to addresses that are not.
    #[error("allowed_servers does not list {host}, nor a network with its address {address}")]
    Address {
        /// The name.
        host: String,
        /// The first of its addresses.
        address: IpAddr,
    },
    /// A listed name leads to an internal address.
    #[error("{host} has the internal address {address}: allowed_servers has to list that or its network, too")]
    Internal {
        /// The name.
        host: String,
        /// The address.
        address: IpAddr,
    },
}

impl AllowedServers {
    /// Reads names, addresses and networks, separated by commas or spaces. What is none of these allows nothing; see
    /// [`bad`](Self::bad).
    pub fn read(text: &str) -> Self {
        Self(text.split([',', ' ', '\t']).filter(|word| !word.is_empty()).map(Entry::read).collect())
    }

    /// What cannot be understood.
    pub fn bad(&self) -> impl Iterator<Item = &str> {
        self.0.iter().filter_map(|entry| match entry {
            Entry::Bad(word) => Some(word.as_str()),
            _ => None,
        })
    }

    /// Refuses what no look-up could make allowed.
    pub fn check(&self, host: &Host) -> Result<(), NotAllowed> {
        let possible = self.0.is_empty()
            || match host {
                Host::Address(address) => self.has_network(*address),
                Host::Name(name) => {
                    self.has_name(name) || self.0.iter().any(|entry| matches!(entry, Entry::Network(..)))
                }
            };
        if possible { Ok(()) } else { Err(NotAllowed::Host(host.to_string())) }
    }

    /// Those of the addresses of `host` that may be connected to; at least one.
    pub fn keep(&self, host: &Host, addresses: Vec<SocketAddr>) -> Result<Vec<SocketAddr>, NotAllowed> {
        if self.0.is_empty() {
            return Ok(addresses);
        }
        let named = matches!(host, Host::Name(name) if self.has_name(name));
        let first = addresses.first().map(SocketAddr::ip);
        let fits = |ip: IpAddr| self.has_network(ip) || (named && !is_internal(ip));
        let kept: Vec<_> = addresses.into_iter().filter(|address| fits(address.ip())).collect();
        match first {
            Some(address) if kept.is_empty() && named => Err(NotAllowed::Internal { host: host.to_string(), address }),
            Some(address) if kept.is_empty() => Err(NotAllowed::Address { host: host.to_string(), address }),
            _ => Ok(kept),
        }
    }

    fn has_name(&self, name: &str) -> bool {
        let name = name.trim_end_matches('.').to_ascii_lowercase();
        self.0.iter().any(|entry| match entry {
            Entry::Name(listed) => *listed == name,
            Entry::Below(end) => name.ends_with(end.as_str()) && name.len() > end.len(),
            Entry::Network(..) | Entry::Bad(_) => false,
        })
    }

    fn has_network(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.0.iter().any(|entry| match entry {
            Entry::Network(network, bits) => begins_alike(*network, address, *bits),
            _ => false,
        })
    }
}

impl Entry {
    fn read(word: &str) -> Self {
        let (text, bits) = word.split_once('/').map_or((word, None), |(text, bits)| (text, Some(bits)));
        let text = text.trim_start_matches('[').trim_end_matches(']');
        if let Ok(address) = text.parse::<IpAddr>() {
            let most: u8 = if address.is_ipv4() { 32 } else { 128 };
            return match bits.map_or(Ok(most), str::parse::<u8>) {
                Ok(bits) if bits <= most => Self::Network(address, bits),
                _ => Self::Bad(word.to_owned()),
            };
        }
        let name = text.trim_end_matches('.').to_ascii_lowercase();
        let below = name.strip_prefix('*').filter(|end| end.starts_with('.') && end.len() > 1);
        let plain =
            |name: &str| name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.'));
        // A word of digits and dots is an address with a slip in it.
        let is_name = bits.is_none() && name.bytes().any(|byte| byte.is_ascii_alphabetic());
        match below {
            Some(end) if is_name && plain(end) => Self::Below(end.to_owned()),
            None if is_name && plain(&name) => Self::Name(name),
            _ => Self::Bad(word.to_owned()),
        }
    }
}

impl fmt::Display for AllowedServers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} entries", self.0.len())
    }
}

fn begins_alike(network: IpAddr, address: IpAddr, bits: u8) -> bool {
    let shift = |width: u8| u32::from(width.saturating_sub(bits));
    match (network, address) {
        (IpAddr::V4(network), IpAddr::V4(address)) => {
            let differ = u32::from(network) ^ u32::from(address);
            differ.checked_shr(shift(32)).unwrap_or(0) == 0
        }
        (IpAddr::V6(network), IpAddr::V6(address)) => {
            let differ = u128::from(network) ^ u128::from(address);
            differ.checked_shr(shift(128)).unwrap_or(0) == 0
        }
        _ => false,
    }
}

/// Whether an address is not one of the public internet: this machine, its networks, those of the provider, groups.
fn is_internal(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(address) => is_internal_v4(address),
        IpAddr::V6(address) => is_internal_v6(address),
    }
}

fn is_internal_v4(address: Ipv4Addr) -> bool {
    let [first, second, third, _] = address.octets();
    address.is_loopback()
        || address.is_private()
        || address.is_link_local()
        || address.is_broadcast()
        || address.is_multicast()
        || first == 0
        // Carriers' networks (RFC 6598), protocol assignments, benchmarks, and what is reserved.
        || (first == 100 && second & 0xc0 == 64)
        || (first == 192 && second == 0 && third == 0)
        || (first == 198 && second & 0xfe == 18)
        || first >= 240
}

fn is_internal_v6(address: Ipv6Addr) -> bool {
    let [first, second, third, fourth, fifth, sixth, seventh, eighth] = address.segments();
    let embedded = |high: u16, low: u16| {
        let [a, b] = high.to_be_bytes();
        let [c, d] = low.to_be_bytes();
        is_internal_v4(Ipv4Addr::new(a, b, c, d))
    };
    // Translators lead to the IPv4 address in it: NAT64 (64:ff9b::/96), 6to4 (2002::/16).
    let nat64 = [first, second, third, fourth, fifth, sixth] == [0x64, 0xff9b, 0, 0, 0, 0];
    address.is_loopback()
        || address.is_unspecified()
        || address.is_multicast()
        || first & 0xfe00 == 0xfc00
        || first & 0xffc0 == 0xfe80
        || first & 0xffc0 == 0xfec0
        || (nat64 && embedded(seventh, eighth))
        || (first == 0x2002 && embedded(second, third))
}

/// What everything that connects goes through: where names lead, and the list in force. Clones are one gate.
#[derive(Clone, Debug, Default)]
pub struct ServerGate {
    allowed: Arc<RwLock<AllowedServers>>,
    names: Names,
}

impl ServerGate {
    /// Open to all; names are looked up with `blocking`.
    pub fn new(blocking: Blocking) -> Self {
        Self { allowed: Arc::default(), names: Names::new(blocking) }
    }

    /// Another list, for every connection from now on.
    pub fn set(&self, allowed: AllowedServers) {
        *self.allowed.write() = allowed;
    }

    /// The list now.
    pub fn now(&self) -> AllowedServers {
        self.allowed.read().clone()
    }

    /// Where names lead.
    pub(super) const fn names(&self) -> &Names {
        &self.names
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn name(name: &str) -> Host {
        Host::Name(name.to_owned())
    }

    fn kept(allowed: &str, host: &str, addresses: &[&str]) -> Result<usize, String> {
        let host = host.parse().map_or_else(|_| name(host), Host::Address);
        let allowed = AllowedServers::read(allowed);
        let addresses = addresses.iter().map(|ip| SocketAddr::new(ip.parse().unwrap(), 443)).collect();
        allowed.keep(&host, addresses).map(|kept| kept.len()).map_err(|error| error.to_string())
    }

    #[test]
    fn without_a_list_every_server_is_allowed() {
        assert_eq!(kept("", "anything", &["127.0.0.1", "8.8.8.8"]), Ok(2));
        assert_eq!(AllowedServers::read(" , ").check(&name("x")), Ok(()));
    }

    #[test]
    fn a_listed_name_leads_to_public_addresses_only() {
        let list = "bot.example, *.voice.example";
        assert_eq!(kept(list, "BOT.example.", &["93.184.216.34", "2606:2800::1"]), Ok(2));
        assert_eq!(kept(list, "a.voice.example", &["93.184.216.34"]), Ok(1));
        assert!(kept(list, "voice.example", &["93.184.216.34"]).is_err(), "a domain is not below itself");
        assert!(kept(list, "evilvoice.example", &["93.184.216.34"]).is_err());
        assert_eq!(kept(list, "bot.example", &["10.0.0.1", "93.184.216.34"]), Ok(1), "the internal one is left out");
        let internal = kept(list, "bot.example", &["169.254.169.254"]).unwrap_err();
        assert_eq!(
            internal,
            "bot.example has the internal address 169.254.169.254: allowed_servers has to list that or its network, too"
        );
        for address in [
            "127.0.0.1",
            "10.1.2.3",
            "172.16.0.1",
            "192.168.0.1",
            "169.254.1.1",
            "100.64.0.1",
            "0.0.0.0",
            "224.0.0.1",
            "255.255.255.255",
            "198.18.0.1",
            "::1",
            "::",
            "fe80::1",
            "fd00::1",
            "ff02::1",
            "::ffff:10.0.0.1",
            "64:ff9b::a00:1",
            "2002:a00:1::1",
        ] {
            assert!(kept(list, "bot.example", &[address]).is_err(), "{address}");
        }
        for address in ["8.8.8.8", "100.128.0.1", "172.32.0.1", "2a00::1", "64:ff9b::808:808", "::ffff:8.8.8.8"] {
            assert_eq!(kept(list, "bot.example", &[address]), Ok(1), "{address}");
        }
    }

    #[test]
    fn a_listed_network_allows_whatever_name_leads_there() {
        let list = "10.20.0.0/16 192.0.2.7 fd00:1::/32 [::1]";
        for (host, address) in [
            ("bot.lan", "10.20.255.1"),
            ("10.20.0.1", "10.20.0.1"),
            ("x", "192.0.2.7"),
            ("x", "fd00:1:2::3"),
            ("x", "::1"),
            ("x", "::ffff:10.20.0.1"),
        ] {
            assert_eq!(kept(list, host, &[address]), Ok(1), "{host} {address}");
        }
        for (host, address) in
            [("bot.lan", "10.21.0.1"), ("10.21.0.1", "10.21.0.1"), ("x", "192.0.2.8"), ("x", "8.8.8.8")]
        {
            assert!(kept(list, host, &[address]).is_err(), "{host} {address}");
        }
        assert_eq!(kept("0.0.0.0/0", "x", &["127.0.0.1", "::1"]), Ok(1));
    }

    #[test]
    fn what_cannot_be_allowed_is_refused_before_the_look_up() {
        let names = AllowedServers::read("bot.example");
        assert_eq!(names.check(&name("other.example")), Err(NotAllowed::Host("other.example".into())));
        assert!(names.check(&Host::Address("10.0.0.1".parse().unwrap())).is_err());
        assert_eq!(AllowedServers::read("10.0.0.0/8").check(&name("other.example")), Ok(()), "the address decides");
    }

    #[test]
    fn what_is_no_name_and_no_network_allows_nothing() {
        let list = AllowedServers::read("10.0.0.0/33 300.1.2.3 10.0.0 https://x a*b *. ex_ample-1");
        assert_eq!(list.bad().collect::<Vec<_>>(), ["10.0.0.0/33", "300.1.2.3", "10.0.0", "https://x", "a*b", "*."]);
        assert!(AllowedServers::read("10.0.0.0/33").check(&Host::Address("10.0.0.1".parse().unwrap())).is_err());
        assert_eq!(list.check(&name("ex_ample-1")), Ok(()));
    }
}
