//! Logging in with a key in a security token, which an agent of the test plays: a real sshd checks what it
//! signs. The same with the rest of what a login that took a person changes.

use std::fs;

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use nbtunnel_core::{FailureKind, LinkReport};
use russh::keys::PublicKey;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};

use super::AgentAt;
use super::testbed::{Sshd, links, start};

const KIND: &[u8] = b"sk-ssh-ed25519@openssh.com";
const APPLICATION: &[u8] = b"ssh:";

/// A string as SSH sends it (RFC 4251 §5).
fn string(bytes: &[u8]) -> Vec<u8> {
    let length = u32::try_from(bytes.len()).unwrap();
    [&length.to_be_bytes(), bytes].concat()
}

/// The first string of `rest`, which is moved behind it.
fn take<'a>(rest: &mut &'a [u8]) -> &'a [u8] {
    let (length, after) = rest.split_at(4);
    let (string, after) = after.split_at(u32::from_be_bytes(length.try_into().unwrap()) as usize);
    *rest = after;
    string
}

struct Token(Ed25519KeyPair);

impl Token {
    fn public(&self) -> Vec<u8> {
        [string(KIND), string(self.0.public_key().as_ref()), string(APPLICATION)].concat()
    }

    /// As a token signs that was touched (`PROTOCOL.u2f` of OpenSSH).
    fn sign(&self, data: &[u8]) -> Vec<u8> {
        let (touched, uses) = ([1], 5_u32.to_be_bytes());
        let (application, message) = (digest(&SHA256, APPLICATION), digest(&SHA256, data));
        let signed = self.0.sign(&[application.as_ref(), &touched, &uses, message.as_ref()].concat());
        [string(KIND), string(signed.as_ref()), touched.to_vec(), uses.to_vec()].concat()
    }

    /// Answers one client as an agent does (draft-miller-ssh-agent).
    async fn serve(&self, mut client: UnixStream) {
        while let Ok(length) = client.read_u32().await {
            let mut request = vec![0; length as usize];
            client.read_exact(&mut request).await.unwrap();
            let answer = match request[0] {
                11 => [vec![12, 0, 0, 0, 1], string(&self.public()), string(b"token")].concat(),
                13 => {
                    let mut rest = &request[1..];
                    assert_eq!(take(&mut rest), self.public());
                    [vec![14], string(&self.sign(take(&mut rest)))].concat()
                }
                _ => vec![5],
            };
            client.write_all(&string(&answer)).await.unwrap();
        }
    }
}

#[tokio::test]
async fn a_login_with_a_token_is_told_as_one_that_took_a_person() {
    let sshd = Sshd::start("ed25519", "");
    let token = Token(Ed25519KeyPair::from_seed_unchecked(&[7; 32]).unwrap());
    let line = PublicKey::from_bytes(&token.public()).unwrap().to_openssh().unwrap();
    let authorized = fs::read_to_string(sshd.at("authorized")).unwrap();
    fs::write(sshd.at("authorized"), format!("{authorized}{line}\n")).unwrap();
    let socket = sshd.at("agent");
    let agent = UnixListener::bind(&socket).unwrap();
    tokio::spawn(async move {
        while let Ok((client, _)) = agent.accept().await {
            token.serve(client).await;
        }
    });
    let links = links(AgentAt::Socket(socket));
    let mut route = sshd.route();
    // The other key needs nobody; so it goes first.
    start(&links, route.clone()).up().await;
    route.identity_files = Some(Vec::new());
    let mut link = start(&links, route);
    assert_eq!(link.report().await, LinkReport::Asked);
    assert!(link.carrier.is_some());
    link.up().await;
}

/// Made by `ssh-keygen -t ed25519-sk`: a handle that only its token can sign with.
fn handle() -> String {
    use russh::keys::ssh_key::LineEnding;
    use russh::keys::ssh_key::private::{KeypairData, PrivateKey, SkEd25519};
    let token = Token(Ed25519KeyPair::from_seed_unchecked(&[7; 32]).unwrap());
    let public = PublicKey::from_bytes(&token.public()).unwrap();
    let public = public.key_data().sk_ed25519().unwrap().clone();
    let key = SkEd25519::new(public, 1, b"handle".to_vec()).unwrap();
    let key = PrivateKey::new(KeypairData::SkEd25519(key), "test").unwrap();
    key.to_openssh(LineEnding::LF).unwrap().to_string()
}

#[tokio::test]
async fn a_file_of_a_token_that_no_agent_holds_is_named_and_not_offered() {
    use std::os::unix::fs::PermissionsExt;
    let sshd = Sshd::start("ed25519", "");
    fs::write(sshd.at("sk"), handle()).unwrap();
    fs::set_permissions(sshd.at("sk"), fs::Permissions::from_mode(0o600)).unwrap();
    let mut route = sshd.route();
    route.identity_files = Some(vec![sshd.at("sk")]);
    let failure = start(&links(AgentAt::Nowhere), route.clone()).lost().await;
    assert_eq!(failure.kind, FailureKind::NoCredentials);
    assert!(failure.message.contains("security token"), "{failure}");
    // It stands in nobody's way.
    route.identity_files.as_mut().unwrap().push(sshd.at("id"));
    start(&links(AgentAt::Nowhere), route).up().await;
}
