use std::time::Duration;

use super::*;

const BASE: &str = "host h\nuser me\nhostname h\nport 22\ncompression no\nidentityfile ~/.ssh/id_rsa\nverifyhostkeydns false\n\
    passwordauthentication yes\nrekeylimit 0 0\nuserknownhostsfile /r/a /r/b\nhostbasedauthentication no\n";

fn parsed(extra: &str) -> HostConfig {
    parse(&format!("{BASE}{extra}"), BASE).unwrap()
}

#[test]
fn what_ssh_does_anyway_counts_as_not_set() {
    let config = parsed("");
    let expected = HostConfig { hostname: "h".into(), user: "me".into(), port: 22, ..HostConfig::default() };
    assert_eq!(config, expected);
}

#[test]
fn a_method_that_is_off_is_not_among_the_preferred() {
    let said = BASE.replace("passwordauthentication yes", "passwordauthentication no");
    let config = parse(&said, BASE).unwrap();
    let methods = config.preferred_authentications.unwrap();
    assert_eq!(methods, ["gssapi-with-mic", "hostbased", "publickey", "keyboard-interactive"]);
}

#[test]
fn what_debian_adds_to_batch_mode_counts_as_not_set() {
    // Methods that ask stay: what fails because of it is to be told as such.
    let config =
        parsed("batchmode yes\npreferredauthentications password,publickey\nserveraliveinterval 300\n");
    assert_eq!(config.preferred_authentications.unwrap(), ["password", "publickey"]);
    assert_eq!((config.batch_mode, config.server_alive_interval), (Some(true), None));
    let config = parsed("batchmode yes\nserveraliveinterval 15\n");
    assert_eq!(config.server_alive_interval, Some(Duration::from_secs(15)));
    assert_eq!(parsed("serveraliveinterval 300\n").server_alive_interval, Some(Duration::from_secs(300)));
}

#[test]
fn what_we_do_not_follow_is_told() {
    let said = BASE.replace("hostbasedauthentication no", "hostbasedauthentication yes");
    let config = parse(&format!("{said}sendenv LANG\nbrandnew x\n"), BASE).unwrap();
    assert_eq!(config.unhonoured.len(), 2, "{:?}", config.unhonoured);
    let said = BASE.replace("rekeylimit 0 0", "rekeylimit 1024 60");
    let config = parse(&format!("{said}batchmode yes\nserveralivecountmax 9\n"), BASE).unwrap();
    assert_eq!(config.unhonoured.len(), 1, "{:?}", config.unhonoured);
    assert_eq!(config.server_alive_count, Some(9));
}

#[test]
fn values_are_typed() {
    let said =
        BASE.replace("rekeylimit 0 0", "rekeylimit 1024 60").replace("compression no", "compression yes");
    let config = parse(&said, BASE).unwrap();
    assert_eq!((config.rekey_bytes, config.rekey_after), (Some(1024), Some(Duration::from_secs(60))));
    assert_eq!(config.compression, Some(true));
}

#[test]
fn what_makes_no_sense_is_an_error_and_no_panic() {
    for bad in ["", "port 22", "host h\nuser u\nhostname h\nport 0\n", "host h\nuser u\nhostname h\nport x\n"]
    {
        assert!(parse(bad, "").is_err(), "{bad}");
    }
    assert!(
        parse(&BASE.replace("verifyhostkeydns false", "verifyhostkeydns ask"), BASE)
            .unwrap_err()
            .contains("VerifyHostKeyDNS ask")
    );
    assert!(parse(&format!("{BASE}tcpkeepalive maybe\n"), BASE).is_err());
}
