//! What people type, and what becomes of it.

use super::*;

/// The tunnel in one line: `user@host:port | forwards | the rest`, or the error.
fn shown(line: &str) -> String {
    let tunnel = match parse_line(line) {
        Ok(tunnel) => tunnel,
        Err(error) => {
            assert!(!error.hint.is_empty(), "{line}");
            return format!("error: {}", error.message);
        }
    };
    let mut out = tunnel.user.map(|user| format!("{user}@")).unwrap_or_default();
    out += &tunnel.host;
    out += &tunnel.port.map(|port| format!(":{port}")).unwrap_or_default();
    out += &format!(" {}", tunnel.forwards.join(","));
    for (key, items) in [
        ("D", tunnel.dynamics),
        ("R", tunnel.remotes),
        ("J", tunnel.jump),
        ("i", tunnel.identity_files),
        ("kh", tunnel.known_hosts),
        ("F", tunnel.ssh_config.into_iter().collect()),
        ("o", tunnel.options),
    ] {
        if !items.is_empty() {
            out += &format!(" {key}={}", items.join(","));
        }
    }
    for (key, item) in [("keepalive", tunnel.keepalive), ("timeout", tunnel.connect_timeout)] {
        out += &item.map(|item| format!(" {key}={item}")).unwrap_or_default();
    }
    out + &tunnel.host_key.map(|policy| format!(" {policy}")).unwrap_or_default()
}

#[test]
fn command_lines_as_people_type_them() {
    let cases = [
        (
            "ssh -N -f -L localhost:6000:localhost:7000 username@dest.ination.com",
            "username@dest.ination.com localhost:6000:localhost:7000",
        ),
        ("ssh -NfL 6000:localhost:7000 me@h", "me@h 6000:localhost:7000"),
        ("ssh -NL6000:localhost:7000 me@h", "me@h 6000:localhost:7000"),
        ("ssh -fNT -L 1:a:2 -L 3:b:4 h", "h 1:a:2,3:b:4"),
        ("ssh me@h -N -L 1:a:2", "me@h 1:a:2"),
        ("ssh -L 1:a:2 h -p 2222", "h:2222 1:a:2"),
        ("ssh -p2222 -L 1:a:2 h", "h:2222 1:a:2"),
        ("ssh -p 2222 h", "h:2222 "),
        ("ssh -l me h", "me@h "),
        ("ssh -lme h", "me@h "),
        ("ssh -l me you@h", "me@h "),
        ("ssh you@h -l me", "you@h "),
        ("ssh -p 1 -p 2 h", "h:1 "),
        ("ssh me@corp.com@h", "me@corp.com@h "),
        ("ssh -i ~/.ssh/id_x -i k2 h", "h  i=~/.ssh/id_x,k2"),
        ("ssh -i '/a b/key' h", "h  i=/a b/key"),
        (r#"ssh -i "C:\keys\k" h"#, r"h  i=C:\keys\k"),
        ("/usr/bin/ssh h", "h "),
        ("ssh.exe h", "h "),
        ("  ssh   h  ", "h "),
        ("ssh ssh://h", "h "),
        ("ssh ssh://me@h:2222", "me@h:2222 "),
        ("ssh ssh://me@h:2222/", "me@h:2222 "),
        ("ssh ssh://me@[fe80::1]:22", "me@fe80::1:22 "),
        ("ssh ssh://[::1]", "::1 "),
        ("ssh 'ssh://me;x=y@h'", "me@h "),
        ("ssh -p 9 ssh://h:10", "h:9 "),
        ("ssh 10.0.0.1", "10.0.0.1 "),
        ("ssh fe80::1%eth0", "fe80::1%eth0 "),
        ("ssh me@::1", "me@::1 "),
        ("ssh h &", "h "),
        ("ssh -- h", "h "),
        ("ssh -N -- me@h ls", "me@h "),
        ("ssh h -- ls -la", "h "),
        ("ssh h jupyter lab --port 7000", "h "),
        ("ssh -tt h 'cd x && ls'", "h "),
        ("ssh -vvq h", "h "),
        ("ssh -4Cv h", "h  o=AddressFamily=inet,Compression=yes"),
        ("ssh -6g h", "h  o=AddressFamily=inet6,GatewayPorts=yes"),
        ("ssh -NK h", "h  o=GSSAPIAuthentication=yes,GSSAPIDelegateCredentials=yes"),
        ("ssh -AXY h", "h "),
        ("ssh -J me@j:2222,k h", "h  J=me@j:2222,k"),
        ("ssh -NJj h", "h  J=j"),
        ("ssh -J none h", "h  o=ProxyJump=none"),
        ("ssh -J j -o ProxyJump=k -o ProxyCommand=x h", "h  J=j"),
        ("ssh -o ProxyCommand=x -o ProxyJump=k h", "h  o=ProxyCommand=x"),
        ("ssh -4 -6 h", "h  o=AddressFamily=inet6"),
        ("ssh -o AddressFamily=inet6 -4 -o AddressFamily=any h", "h  o=AddressFamily=inet,AddressFamily=any"),
        ("ssh -b 10.0.0.1 -b 10.0.0.2 -c a -c b -m a -m b h", "h  o=BindAddress=10.0.0.2,Ciphers=b,MACs=b"),
        ("ssh -Kk h", "h  o=GSSAPIAuthentication=yes,GSSAPIDelegateCredentials=no"),
        ("autossh -M 0 -f -N -L 1:a:2 h", "h 1:a:2"),
        ("AUTOSSH_POLL=5 /usr/bin/autossh -M20000 h", "h "),
        ("SSH_AUTH_SOCK=/run/a ssh h", "h  o=IdentityAgent=/run/a"),
        ("nohup env A=b ssh -N h > log 2>&1 &", "h "),
        ("$ ssh h", "h "),
        ("me@laptop:~$ ssh h", "h "),
        ("ssh –N –L 1:a:2 h", "h 1:a:2"),
        ("ssh h # as on the wiki", "h "),
        ("ssh -N \\\n  -L 1:a:2 \\\n  h\n", "h 1:a:2"),
        ("ssh -o ProxyJump=j,k h", "h  J=j,k"),
        ("ssh -F none -F /etc/lab h", "h  F=/etc/lab"),
        ("ssh -F none h", "h  F=none"),
        ("ssh -b 10.0.0.1 -B eth0 -P lab h", "h  o=BindAddress=10.0.0.1,BindInterface=eth0,Tag=lab"),
        (
            "ssh -c aes128-ctr,aes256-ctr -m hmac-sha2-256 h",
            "h  o=Ciphers=aes128-ctr,aes256-ctr,MACs=hmac-sha2-256",
        ),
        ("ssh -o 'ProxyCommand=nc -X 5 %h %p' h", "h  o=ProxyCommand=nc -X 5 %h %p"),
        ("ssh -o 'ProxyCommand nc %h %p' h", "h  o=ProxyCommand=nc %h %p"),
        ("ssh -o IdentitiesOnly=yes -o Brandnew=1 h", "h  o=IdentitiesOnly=yes,Brandnew=1"),
        ("ssh -o CertificateFile=~/c -o CertificateFile=/c h", "h  o=CertificateFile=~/c,CertificateFile=/c"),
        ("ssh -o IdentityAgent=none h", "h  o=IdentityAgent=none"),
        ("ssh -o 'IdentityAgent=$SOCK' h", "h  o=IdentityAgent=$SOCK"),
        ("ssh -o Compression=yes h", "h  o=Compression=yes"),
        ("ssh -e none -E log -S sock -M h", "h "),
        ("ssh -o Port=2222 h", "h:2222 "),
        ("ssh -oPort=2222 h", "h:2222 "),
        ("ssh -o 'Port 2222' h", "h:2222 "),
        ("ssh -o 'port = 2222' h", "h:2222 "),
        ("ssh -o User=me h", "me@h "),
        ("ssh -o HostName=real.example.org alias", "alias  o=HostName=real.example.org"),
        ("ssh alias -o hostname=%h.lab", "alias  o=HostName=%h.lab"),
        ("ssh -o IdentityFile=~/k h", "h  i=~/k"),
        (r#"ssh -o 'IdentityFile "~/my key"' h"#, "h  i=~/my key"),
        ("ssh -o 'LocalForward 6000 localhost:7000' h", "h 6000:localhost:7000"),
        ("ssh -o LocalForward=6000:localhost:7000 h", "h 6000:localhost:7000"),
        ("ssh -D 1080 -R 8080:localhost:3000 -R 0:/run/x h", "h  D=1080 R=8080:localhost:3000,0:/run/x"),
        ("ssh -ND1080 -R '*:1081' h", "h  D=1080 R=*:1081"),
        ("ssh -o DynamicForward=1080 -o 'RemoteForward 8080 h:1' h", "h  D=1080 R=8080:h:1"),
        (
            "ssh -o ServerAliveInterval=15 -o ServerAliveCountMax=3 h",
            "h  o=ServerAliveCountMax=3 keepalive=15s",
        ),
        ("ssh -o ServerAliveInterval=1m30 -o ConnectTimeout=1M h", "h  keepalive=90s timeout=60s"),
        ("ssh -o ConnectTimeout=none h", "h "),
        ("ssh -o ServerAliveInterval=0 h", "h "),
        ("ssh -o ConnectTimeout=5 h", "h  timeout=5s"),
        ("ssh -o StrictHostKeyChecking=yes h", "h  strict"),
        ("ssh -o StrictHostKeyChecking=ask h", "h  strict"),
        ("ssh -o StrictHostKeyChecking=no h", "h  accept-new"),
        ("ssh -o StrictHostKeyChecking=accept-new h", "h  accept-new"),
        ("ssh -o 'UserKnownHostsFile /a /b' h", "h  kh=/a,/b"),
        ("ssh -o ExitOnForwardFailure=yes -o BatchMode=yes h", "h  o=ExitOnForwardFailure=yes"),
        ("ssh -o ForwardAgent=yes h", "h "),
        (
            "ssh -o PasswordAuthentication=no -o KbdInteractiveAuthentication=no h",
            "h  o=PasswordAuthentication=no,KbdInteractiveAuthentication=no",
        ),
    ];
    for (line, expected) in cases {
        assert_eq!(shown(line), expected, "{line}");
    }
}

#[test]
fn what_cannot_be_honoured_is_named() {
    for flag in ["W a:1", "w 0", "I p", "s", "1", "O exit", "Q cipher", "G", "V"] {
        let text = shown(&format!("ssh -{flag} h"));
        assert!(text.starts_with(&format!("error: -{} (", &flag[..1])), "{flag}: {text}");
        let combined = shown(&format!("ssh -N{flag} h"));
        assert_eq!(combined, text, "{flag}");
    }
}

#[test]
fn keywords_that_would_change_whom_to_trust_or_where_it_leads_are_refused() {
    for (option, harmless) in [
        ("CASignatureAlgorithms=ssh-ed25519", None),
        ("GSSAPIClientIdentity=me@LAB", None),
        ("GSSAPIServerIdentity=gpu7", None),
        ("HostbasedAuthentication=yes", Some("no")),
        ("KnownHostsCommand=/bin/keys %H", Some("none")),
        ("PermitRemoteOpen=a:1", Some("any")),
        ("PKCS11Provider=/lib/p11.so", Some("none")),
        ("ProxyUseFdpass=yes", Some("no")),
        ("RefuseConnection=closed", None),
        ("RequiredRSASize=3072", Some("1024")),
        ("RevokedHostKeys=/etc/ssh/revoked", Some("none")),
        ("SecurityKeyProvider=/lib/sk.so", Some("internal")),
        ("SmartcardDevice=/lib/p11.so", Some("none")),
        ("Tunnel=point-to-point", Some("no")),
        ("TUNNEL=Ethernet", Some("No")),
    ] {
        let keyword = option.split('=').next().unwrap_or_default();
        let text = shown(&format!("ssh -o '{option}' h"));
        assert!(text.starts_with(&format!("error: -o {keyword} cannot be honoured: ")), "{option}: {text}");
        if let Some(value) = harmless {
            assert_eq!(shown(&format!("ssh -o {keyword}={value} h")), format!("h  o={keyword}={value}"));
        }
    }
}

#[test]
fn the_address_of_a_notebook_is_no_command() {
    let url = "http://localhost:8888/?token=5ecret";
    for line in ["ssh me@h URL", "ssh -N URL me@h", "ssh me@h URL -p 2222", "ssh -N -- me@h URL"] {
        let tunnel = parse_line(&line.replace("URL", url)).unwrap();
        let server = tunnel.server.as_ref().unwrap();
        assert_eq!((server.port, server.token.as_deref()), (8888, Some("5ecret")), "{line}");
        assert_eq!((tunnel.host.as_str(), tunnel.port.is_some()), ("h", line.contains("-p")), "{line}");
        assert!(!format!("{tunnel:?} {:?}", tunnel.remarks()).contains("5ecret"), "{line}");
    }
    // What a command does with one is its own.
    let tunnel = parse_line(&format!("ssh h curl {url}")).unwrap();
    assert!(tunnel.server.is_none() && tunnel.remarks()[0].contains("the remote command curl"));
    for (line, named) in [
        ("ssh h 'curl URL'", "…"),
        ("ssh h -- 'git clone URL && jupyter lab'", "…"),
        ("ssh h 'cat /run/5ecret'", "…"),
        ("ssh h HTTPS_PROXY=http://proxy:3128 jupyter lab", "…"),
    ] {
        let tunnel = parse_line(&line.replace("URL", url)).unwrap();
        let remarks = format!("{:?}", tunnel.remarks());
        assert!(
            tunnel.server.is_none() && remarks.contains(&format!("the remote command {named}")),
            "{remarks}"
        );
        assert!(!remarks.contains("5ecret"), "{remarks}");
    }
    for line in ["ssh h URL URL", "ssh h http://:8888/?token=5ecret", "ssh URL"] {
        let refusal = parse_line(&line.replace("URL", url)).unwrap_err();
        assert!(!format!("{refusal:?}").contains("5ecret"), "{refusal:?}");
    }
}

#[test]
fn files_mean_what_they_meant_where_they_were_typed() {
    let here = std::env::current_dir().unwrap();
    let at_home = |name: &str| here.join(name).display().to_string();
    let line = "ssh -F lab.conf -o CertificateFile=c.pub -o IdentityAgent=./a.sock h";
    let (file, certificate, agent) = (at_home("lab.conf"), at_home("c.pub"), at_home("a.sock"));
    let expected = format!("h  F={file} o=CertificateFile={certificate},IdentityAgent={agent}");
    assert_eq!(shown(line), expected);
}

#[test]
fn what_makes_no_sense_is_an_error() {
    let cases = [
        ("", "error: the command line begins with \"\""),
        ("A=b", "error: the command line begins with \"\""),
        ("ssh -J a -J b h", "error: -J cannot be honoured beside another"),
        ("ssh -o ProxyCommand=x -J b h", "error: -J cannot be honoured beside another"),
        ("ssh -L 1:a:2 -o ClearAllForwardings=yes h", "error: -o ClearAllForwardings=yes would"),
        ("ssh -L 1:a:2 h; ls", "error: there is more than one command"),
        ("ssh h && ls", "error: the command line has the && of two commands"),
        ("ssh -i $HOME/k h", "error: the command line has the variable $HOME"),
        ("autossh -f -M", "error: -M lacks its argument"),
        ("ssh -o ConnectTimeout=99999999w h", "error: ConnectTimeout=99999999w is not a number"),
        ("ssh -o ConnectTimeout=5ü h", "error: ConnectTimeout=5ü is not a number"),
        ("scp a b", "error: the command line begins with \"scp\""),
        ("ssh", "error: the command line names no host"),
        ("ssh -N", "error: the command line names no host"),
        ("ssh --", "error: the command line names no host"),
        ("ssh -N -L", "error: -L lacks its argument"),
        ("ssh 'h", "error: the command line has a quote"),
        ("ssh -p 0 h", "error: \"0\" is not a port"),
        ("ssh -p 70000 h", "error: \"70000\" is not a port"),
        ("ssh -p x h", "error: \"x\" is not a port"),
        ("ssh ssh://h:x", "error: \"x\" is not a port"),
        ("ssh -Z h", "error: -Z is no option of ssh"),
        ("ssh --help h", "error: --help is no option"),
        ("ssh h --token=abc", "error: --token is no option"),
        ("ssh -- -oProxyCommand=x", "error: a host does not begin with '-'"),
        ("ssh me@-h", "error: a host does not begin with '-'"),
        ("ssh ssh://-h", "error: a host does not begin with '-'"),
        ("ssh -o HostName=-x h", "error: a host does not begin with '-'"),
        ("ssh me@", "error: the host is empty"),
        ("ssh ''", "error: the host is empty"),
        ("ssh 'a b'", "error: not a host name"),
        ("ssh 'h;id'", "error: not a host name"),
        ("ssh '$(id)'", "error: not a host name"),
        ("ssh @h", "error: not a user name"),
        ("ssh -l -x h", "error: not a user name"),
        ("ssh h:22", "error: \"h:22\" is a host and a port"),
        ("ssh me@[::1]:22", "error: \"[::1]:22\" is a host and a port"),
        ("ssh -o IdentityFile=none h", "error: -o IdentityFile=none cannot"),
        ("ssh -o Port h", "error: -o \"Port\" is not an option"),
        ("ssh -o ServerAliveInterval=x h", "error: ServerAliveInterval=x is not a number"),
        ("ssh -o ConnectTimeout=0 h", "error: ConnectTimeout 0"),
        ("ssh -o StrictHostKeyChecking=maybe h", "error: StrictHostKeyChecking=maybe"),
        ("ssh -o 'LocalForward 1 2 3' h", "error: LocalForward"),
    ];
    for (line, expected) in cases {
        assert!(shown(line).starts_with(expected), "{line}: {}", shown(line));
    }
}

#[test]
fn what_is_left_out_is_said_in_one_line() {
    let tunnel = parse_line("ssh -f -N -T -f -vv h jupyter lab --token=secret &").unwrap();
    let line = "left out: -f the & at the end (nbtunneld is in the background already), -N -T (a tunnel never runs a \
                command), -v (`nbctl logs` says what happens), the remote command jupyter (a tunnel runs none; what \
                starts a notebook is `start` in its [notebook.NAME])";
    assert_eq!(tunnel.remarks(), [line]);
    let remarks = parse_line("ssh -p 22 h 'cd /secret && jupyter-lab --no-browser'").unwrap().remarks();
    assert!(
        remarks[0].contains("the remote command … (a tunnel runs none; what starts a notebook"),
        "{remarks:?}"
    );
    assert!(parse_line("ssh -J j -4 -o IdentitiesOnly=yes -L 1:a:2 h").unwrap().remarks().is_empty());
    let remarks = parse_line("ssh -o StrictHostKeyChecking=no –N h 'x=y secret'").unwrap().remarks();
    assert_eq!(remarks.len(), 3, "{remarks:?}");
    assert!(remarks.iter().all(|remark| !remark.contains("secret")));
}
