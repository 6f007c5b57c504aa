//! How one gets into a server that was found: by which token, or that it asks for a password.

use std::sync::Arc;

use nbtunnel_core::Failure;
use nbtunnel_proto::Secret;

use super::probe::{self, Answers, Door, Guess, Trouble};
use super::{Kind, words};
use crate::forward::far_side::FarSide;

/// How one gets in.
pub(super) struct Entered {
    pub(super) token: Option<Secret>,
    pub(super) password: bool,
    pub(super) problem: Option<Failure>,
}

/// Tries the token of our file before that of the server's, since one that somebody wrote down may be of yesterday.
/// One that is refused is kept: it is what is to be mended.
pub(super) async fn enter(
    far: &Arc<dyn FarSide>,
    guess: Guess<'_>,
    answers: &Answers,
    kind: Kind,
    tokens: [Option<&Secret>; 2],
) -> Result<Entered, Trouble> {
    let mut tokens: Vec<&Secret> = tokens.into_iter().flatten().collect();
    tokens.dedup();
    for token in &tokens {
        if probe::knock(far, guess, answers, Some(token)).await?.0 == Door::Open {
            return Ok(Entered { token: Some((*token).clone()), password: false, problem: None });
        }
    }
    let token = tokens.first().map(|token| (*token).clone());
    let (password, problem) = if token.is_some() {
        (false, Some(words::token_refused(guess.port, kind)))
    } else if probe::knock(far, guess, answers, None).await?.0 == Door::Open {
        (false, None)
    } else if kind != Kind::Hub && probe::asks_password(far, guess, answers).await? {
        (true, None)
    } else {
        (false, Some(words::token_wanted(guess.port, kind)))
    };
    Ok(Entered { token, password, problem })
}
