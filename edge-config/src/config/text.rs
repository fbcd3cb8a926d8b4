//! Texts with a shape: hosts, the origin's URL, log filters.

use std::net::Ipv6Addr;

use super::tree::shorten;

/// A host name or address, without a port.
pub(super) fn check_host(host: &str) -> Result<(), String> {
    if is_host(host) {
        Ok(())
    } else {
        Err(format!("\"{}\" is not a host name (without scheme, port and path)", shorten(host)))
    }
}

/// A host with or without a port, as in `Host`.
pub(super) fn check_authority(authority: &str) -> Result<(), String> {
    if is_authority(authority) {
        Ok(())
    } else {
        Err(format!(
            "\"{}\" is neither \"pass\" nor a host such as \"www.example.com\"",
            shorten(authority)
        ))
    }
}

/// The origin's base URL. What is wrong is not quoted, as it may be a password.
pub(super) fn check_origin_url(url: &str) -> Result<(), String> {
    const SHAPE: &str = "expected a URL such as \"http://10.0.0.5:3000\"";
    let rest = url.strip_prefix("http://").or_else(|| url.strip_prefix("https://"));
    let Some(rest) = rest else {
        return Err(format!("{SHAPE}: it begins with http:// or https://"));
    };
    let authority = rest.strip_suffix('/').unwrap_or(rest);
    if authority.contains('@') {
        return Err(format!("{SHAPE}: credentials have no place in it"));
    }
    if authority.contains(['/', '?', '#']) {
        return Err(format!("{SHAPE}: without path, query and fragment"));
    }
    if is_authority(authority) { Ok(()) } else { Err(format!("{SHAPE}: the host is not one")) }
}

/// A list of levels: `info`, or `info,hexpop_raft=debug`.
pub(super) fn check_log_filter(filter: &str) -> Result<(), String> {
    const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];
    for directive in filter.split(',') {
        let (target, level) = match directive.split_once('=') {
            Some((target, level)) => (Some(target), level),
            None => (None, directive),
        };
        let is_path = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':';
        let is_target = target.is_none_or(|name| !name.is_empty() && name.chars().all(is_path));
        if !is_target || !LEVELS.contains(&level) {
            return Err(format!(
                "\"{}\" is neither a level ({}) nor target=level",
                shorten(directive),
                LEVELS.join(", ")
            ));
        }
    }
    Ok(())
}

fn is_authority(authority: &str) -> bool {
    // The colons of an IPv6 address stand in brackets.
    match authority.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => is_host(host) && is_port(port),
        _ => is_host(authority),
    }
}

fn is_port(text: &str) -> bool {
    text.bytes().all(|b| b.is_ascii_digit()) && text.parse::<u16>().is_ok_and(|port| port != 0)
}

/// A name of DNS shape (RFC 1123 section 2.1; underscores are let through), an IPv4 address, or an IPv6
/// address in brackets.
fn is_host(host: &str) -> bool {
    if let Some(inner) = host.strip_prefix('[') {
        return inner.strip_suffix(']').is_some_and(|inner| inner.parse::<Ipv6Addr>().is_ok());
    }
    let is_letter = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
    let is_label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(is_letter)
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    host.len() <= 253 && host.split('.').all(is_label)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origin_urls_are_a_scheme_and_a_host() {
        for good in [
            "http://a",
            "https://a.example:8443",
            "http://10.0.0.1:80/",
            "http://[::1]:8080",
            "http://[::1]",
        ] {
            assert_eq!(check_origin_url(good), Ok(()), "{good}");
        }
        for bad in [
            "",
            "a",
            "ftp://a",
            "http://",
            "http:///x",
            "http://a/b",
            "http://a?b",
            "http://u:p@a",
            "http://a:0",
            "http://a:99999",
            "http://a:",
            "http://[::1",
            "http://a b",
            "http://-a",
            "http://a..b",
        ] {
            assert!(check_origin_url(bad).is_err(), "{bad}");
        }
        assert!(!check_origin_url("http://u:secret@a").unwrap_err().contains("secret"));
    }

    #[test]
    fn log_filters_are_levels() {
        for good in ["info", "off", "warn,hexpop_raft=debug", "info,hexpop_node::mesh=trace"] {
            assert_eq!(check_log_filter(good), Ok(()), "{good}");
        }
        for bad in ["", "inf", "info,", "hexpop=loud", "=info", "INFO x"] {
            assert!(check_log_filter(bad).is_err(), "{bad}");
        }
    }
}
