//! The options of `ssh(1)` that are one letter: each is kept, left out with a word, or refused by name.

use super::program::Program;
use super::{Refusal, Tunnel, destination, lasting, leave_out, options, refuse};

/// Flags that a tunnel goes without, since it does so anyway or has no use for it.
const LEFT_OUT: &str = "2AMNTXYafnqtvxy";
/// The same, with an argument.
const LEFT_OUT_ARG: &str = "ESe";
/// Why no agent is forwarded. What runs at the far end may well be an ssh, to a cluster's node.
pub(super) const AGENT_STAYS: &str = "your agent stays here, and no other machine may use it";
/// Options with an argument that are kept.
const KEPT: &str = "BDFJLPRbcilmop";

/// Flags that are short for keywords of ssh_config(5).
fn short_for(flag: char) -> &'static [(&'static str, &'static str)] {
    match flag {
        '4' => &[("AddressFamily", "inet")],
        '6' => &[("AddressFamily", "inet6")],
        'C' => &[("Compression", "yes")],
        'K' => &[("GSSAPIAuthentication", "yes"), ("GSSAPIDelegateCredentials", "yes")],
        'k' => &[("GSSAPIDelegateCredentials", "no")],
        'g' => &[("GatewayPorts", "yes")],
        _ => &[],
    }
}

/// Why the other options of ssh(1) are refused.
fn refusal(flag: char) -> Option<(&'static str, &'static str)> {
    const FORWARDS: &str = "a tunnel makes forwards of ports and sockets (-L, -R, -D); leave it out";
    Some(match flag {
        'W' => ("a forward of standard input and output", FORWARDS),
        'w' => ("a tunnel device", FORWARDS),
        'I' => ("a PKCS#11 library", "load it into an agent with `ssh-add -s`, and leave it out here"),
        's' => ("a subsystem", "leave it out; a tunnel runs nothing at the far end"),
        '1' => ("version 1 of the protocol", "leave it out; no server should speak it any more"),
        'O' | 'Q' | 'G' | 'V' => ("no connection", "give a command line that connects"),
        _ => return None,
    })
}

/// Reads the flags in one word (`-Nf`, `-p2222`, `-NfL arg`). Gives back what follows the argument of the last.
pub(super) fn read<'a>(
    tunnel: &mut Tunnel,
    program: Program,
    cluster: &str,
    mut rest: &'a [String],
) -> Result<&'a [String], Refusal> {
    if let Some(word) = cluster.strip_prefix('-') {
        // Its value is nobody's business.
        let word = word.split('=').next().unwrap_or_default();
        return Err(refuse(
            format!("--{word} is no option of ssh"),
            "options of nbctl itself stand before the line, as in `nbctl add --start demand ssh …`",
        ));
    }
    let mut chars = cluster.chars();
    while let Some(flag) = chars.next() {
        let is_own_port = flag == 'M' && program == Program::AutoSsh;
        if let Some((what, hint)) = refusal(flag) {
            return Err(refuse(format!("-{flag} ({what}) cannot be honoured"), hint));
        }
        if LEFT_OUT.contains(flag) && !is_own_port {
            leave_out_flag(tunnel, flag);
            continue;
        }
        if !short_for(flag).is_empty() {
            short_for(flag).iter().for_each(|(keyword, value)| options::overrule(tunnel, keyword, value));
            continue;
        }
        if !KEPT.contains(flag) && !LEFT_OUT_ARG.contains(flag) && !is_own_port {
            return Err(refuse(format!("-{flag} is no option of ssh"), "see ssh(1)"));
        }
        let argument = match chars.as_str() {
            "" => {
                let Some((argument, after)) = rest.split_first() else {
                    return Err(refuse(format!("-{flag} lacks its argument"), "see ssh(1)"));
                };
                rest = after;
                argument.as_str()
            }
            inline => inline,
        };
        if argument.trim().is_empty() && KEPT.contains(flag) {
            return Err(refuse(format!("-{flag} has an empty argument"), "see ssh(1)"));
        }
        if is_own_port {
            leave_out(tunnel, "-M", "nbtunneld looks after its connections itself");
        } else {
            take(tunnel, flag, argument)?;
        }
        break;
    }
    Ok(rest)
}

/// Takes an option that has an argument. As in ssh, the last `-F`, `-b`, `-B`, `-c` and `-m` counts, and the first of
/// what ssh_config has keywords for otherwise.
fn take(tunnel: &mut Tunnel, flag: char, argument: &str) -> Result<(), Refusal> {
    match flag {
        'L' => tunnel.forwards.push(argument.to_owned()),
        'R' => tunnel.remotes.push(argument.to_owned()),
        'D' => tunnel.dynamics.push(argument.to_owned()),
        'J' => tunnel.go_over(argument)?,
        'F' if argument == "none" => tunnel.ssh_config = Some(argument.to_owned()),
        'F' => tunnel.ssh_config = Some(lasting(argument)?),
        'B' => options::overrule(tunnel, "BindInterface", argument),
        'P' => options::hand_on(tunnel, "Tag", argument),
        'b' => options::overrule(tunnel, "BindAddress", argument),
        'c' => options::overrule(tunnel, "Ciphers", argument),
        'm' => options::overrule(tunnel, "MACs", argument),
        'i' => tunnel.identity_files.push(argument.to_owned()),
        'l' => destination::set_user(tunnel, argument)?,
        'p' => destination::set_port(tunnel, argument)?,
        'o' => tunnel.take_option(argument)?,
        _ => leave_out_flag(tunnel, flag),
    }
    Ok(())
}

fn leave_out_flag(tunnel: &mut Tunnel, flag: char) {
    let why = match flag {
        'N' | 'T' | 't' | 'n' => "a tunnel never runs a command",
        'f' => "nbtunneld is in the background already",
        'v' | 'q' | 'E' | 'y' => "`nbctl logs` says what happens",
        'M' | 'S' => "nbtunneld keeps its connections itself",
        'A' => AGENT_STAYS,
        'X' | 'Y' => "a tunnel runs nothing that could open a window",
        'a' | 'x' => "nothing of the kind is forwarded anyway",
        '2' => "there is no other version of the protocol",
        _ => "a tunnel has no terminal",
    };
    leave_out(tunnel, &format!("-{flag}"), why);
}
