//! `[api]`: the HTTP API and the page.

use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::SearchTls;
use super::rules::Rules;
use crate::units::{ByteSize, MIB};

/// `[api]`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Api {
    /// Whether it is served over the network; the socket always is.
    pub enabled: bool,
    /// Addresses that it listens on.
    pub listen: Vec<IpAddr>,
    /// Its port.
    pub port: u16,
    /// Whether connections are encrypted, and with which certificate.
    pub tls: SearchTls,
    /// The certificate, PEM.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub certificate: Option<PathBuf>,
    /// Its key, PEM.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<PathBuf>,
    /// Longest body, in bytes.
    pub body_limit: ByteSize,
    /// Requests of one client in a minute; 0 for no limit.
    pub requests_per_minute: u32,
    /// Requests that may come at once.
    pub burst: u32,
    /// Backups and restores that one client may begin in a minute; 0 for no limit.
    pub backups_per_minute: u32,
    /// Whether the search indices follow the documents.
    pub feed: bool,
}

impl Default for Api {
    fn default() -> Self {
        Self {
            enabled: true,
            listen: vec![IpAddr::V4(Ipv4Addr::LOCALHOST)],
            port: 8088,
            tls: SearchTls::Off,
            certificate: None,
            key: None,
            body_limit: ByteSize(MIB),
            requests_per_minute: 500,
            burst: 1000,
            backups_per_minute: 10,
            feed: true,
        }
    }
}

impl Rules<'_> {
    pub(super) fn api(&mut self, api: &Api) {
        self.require(
            !api.listen.is_empty(),
            "api.listen",
            "[]",
            "one address at least; api.enabled = false for none",
        );
        self.require(api.port > 0, "api.port", "0", "1 to 65535");
        let open = api.listen.iter().find(|ip| !ip.is_loopback());
        if let Some(open) = open {
            self.require(
                api.tls != SearchTls::Off,
                "api.listen",
                &open.to_string(),
                "an address of this machine alone (127.0.0.1): keys would cross the network in the \
                 clear; api.tls = \"generated\" for others",
            );
        }
        for (name, file) in [("certificate", &api.certificate), ("key", &api.key)] {
            let is_given = file.as_ref().is_some_and(|file| file.is_absolute());
            let (holds, allowed) = match api.tls {
                SearchTls::Given => (is_given, "an absolute path, since api.tls = \"given\""),
                _ => (file.is_none(), "left out, or api.tls = \"given\""),
            };
            let shown = file
                .as_ref()
                .map_or_else(String::new, |file| file.display().to_string());
            self.require(holds, &format!("api.{name}"), &shown, allowed);
        }
        self.require(
            (MIB / 256..=64 * MIB).contains(&api.body_limit.0),
            "api.body_limit",
            &api.body_limit.to_string(),
            "4K to 64M",
        );
        self.require(
            api.requests_per_minute == 0 || api.burst > 0,
            "api.burst",
            &api.burst.to_string(),
            "1 at least where requests_per_minute is a limit",
        );
    }
}
