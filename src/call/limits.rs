//! How many attachments of a kind there may be, and what a refusal says. Plain values.

/// How many there may be; 0 is no limit. Those that are asked to end do not count: their names are free as well.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Limits {
    /// In all.
    pub total: u32,
    /// On one call.
    pub per_call: u32,
    /// To one server.
    pub per_server: u32,
}

/// A limit that leaves no room. The text completes `-ERR ` and begins with the setting.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum LimitReached {
    /// In all.
    #[error("max_streams={0}: that many streams are running; end one, or raise the setting")]
    Total(u32),
    /// On one call.
    #[error("max_streams_per_call={0}: the call has that many streams; end one, or raise the setting")]
    PerCall(u32),
    /// To one server.
    #[error("max_streams_per_server={limit}: {server} has that many streams; end one, or raise the setting")]
    PerServer {
        /// The limit.
        limit: u32,
        /// Scheme, host and port.
        server: String,
    },
}

impl LimitReached {
    /// The setting, for the metrics.
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Total(_) => "max_streams",
            Self::PerCall(_) => "max_streams_per_call",
            Self::PerServer { .. } => "max_streams_per_server",
        }
    }
}

impl Limits {
    /// Whether there is room for one more beside so many in all, on its call, and to its `server`.
    pub(super) fn admit(
        &self,
        total: usize,
        on_call: usize,
        to_server: usize,
        server: &str,
    ) -> Result<(), LimitReached> {
        let full = |limit: u32, count: usize| limit > 0 && count >= limit as usize;
        if full(self.total, total) {
            Err(LimitReached::Total(self.total))
        } else if full(self.per_call, on_call) {
            Err(LimitReached::PerCall(self.per_call))
        } else if full(self.per_server, to_server) {
            Err(LimitReached::PerServer { limit: self.per_server, server: server.to_owned() })
        } else {
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_admits_as_many_as_it_says_and_zero_any_number() {
        let limits = Limits { total: 3, per_call: 2, per_server: 1 };
        assert_eq!(limits.admit(2, 1, 0, "s"), Ok(()));
        assert_eq!(limits.admit(3, 0, 0, "s"), Err(LimitReached::Total(3)));
        assert_eq!(limits.admit(2, 2, 0, "s"), Err(LimitReached::PerCall(2)));
        let refused = limits.admit(2, 1, 1, "ws://h:80").map_err(|reached| reached.to_string());
        let text = "max_streams_per_server=1: ws://h:80 has that many streams; end one, or raise the setting";
        assert_eq!(refused, Err(text.to_owned()));
        assert_eq!(Limits::default().admit(9, 9, 9, "s"), Ok(()));
    }
}
