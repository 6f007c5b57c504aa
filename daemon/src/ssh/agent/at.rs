//! Where an agent may be: what ssh_config names, what the environments of the user's other programs name, and where
//! agents usually are.

use std::fmt;
use std::path::{Path, PathBuf};

use super::environment::Environment;
use crate::ssh::system;

/// The variable that names an agent in every environment.
pub(super) const VARIABLE: &str = "SSH_AUTH_SOCK";

/// Where the agent is, as `IdentityAgent` of ssh_config(5) has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AgentAt {
    /// Where the environments say, asked anew each time, or at a usual place.
    Usual,
    /// Where this variable of the environments says.
    Variable(String),
    /// At this socket or pipe.
    Socket(PathBuf),
    /// Nowhere: only key files are offered.
    Nowhere,
}

/// A place where there may be an agent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::ssh) struct Candidate {
    pub(in crate::ssh) place: PathBuf,
    pub(in crate::ssh) why: Why,
}

/// Why a place is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::ssh) enum Why {
    /// The tunnel's file or ssh_config names it.
    Named,
    /// The environment that the user's service manager gives to programs now.
    Manager,
    /// The environment that the daemon was started with.
    Ours,
    /// The environment of the last nbctl.
    Nbctl,
    /// Agents of this kind are there.
    Known,
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Why::Named => "named by the configuration",
            Why::Manager => "named by the environment of the user's services",
            Why::Ours => "named by the daemon's environment",
            Why::Nbctl => "named by the environment of the last nbctl",
            Why::Known => "at a usual place",
        })
    }
}

impl fmt::Display for Candidate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the SSH agent at {} ({})", self.place.display(), self.why)
    }
}

impl AgentAt {
    /// The places in the order in which they are asked, each once.
    pub(super) async fn candidates(
        &self,
        environment: &Environment,
        passed: Option<PathBuf>,
        home: &Path,
    ) -> Vec<Candidate> {
        let variable = match self {
            AgentAt::Nowhere => return Vec::new(),
            AgentAt::Socket(place) => {
                return vec![Candidate { place: place.clone(), why: Why::Named }];
            }
            AgentAt::Usual => VARIABLE,
            AgentAt::Variable(name) => name,
        };
        let ours = std::env::var_os(variable).map(PathBuf::from);
        let mut places = vec![(environment.get(variable).await, Why::Manager), (ours, Why::Ours)];
        if variable == VARIABLE {
            places.push((passed, Why::Nbctl));
        }
        if *self == AgentAt::Usual {
            let known = system::known_agents(home).into_iter();
            places.extend(known.map(|place| (Some(place), Why::Known)));
        }
        let mut candidates: Vec<Candidate> = Vec::new();
        for (place, why) in places {
            // A path that depends on where we were started names nothing.
            let Some(place) = place.filter(|place| place.is_absolute()) else { continue };
            if candidates.iter().all(|candidate| candidate.place != place) {
                candidates.push(Candidate { place, why });
            }
        }
        candidates
    }
}

#[cfg(test)]
#[cfg(unix)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_place_is_asked_once_and_one_that_is_named_alone() {
        let environment = Environment::default();
        let places = |at: AgentAt, passed: &'static str| {
            let environment = &environment;
            async move {
                let home = Path::new("/home/u");
                at.candidates(environment, Some(PathBuf::from(passed)), home).await
            }
        };
        let usual = places(AgentAt::Usual, "/run/from/nbctl").await;
        let nbctl = usual.iter().position(|candidate| candidate.why == Why::Nbctl).unwrap();
        let known = usual.iter().position(|candidate| candidate.why == Why::Known).unwrap();
        assert!(nbctl < known, "{usual:?}");
        let again = places(AgentAt::Usual, "/home/u/.1password/agent.sock").await;
        let same = again.iter().filter(|candidate| candidate.place.ends_with(".1password/agent.sock"));
        assert_eq!(same.map(|candidate| candidate.why).collect::<Vec<_>>(), [Why::Nbctl], "{again:?}");
        // No path, no place.
        assert!(places(AgentAt::Usual, "agent").await.iter().all(|candidate| candidate.why != Why::Nbctl));
        let socket = places(AgentAt::Socket("/a".into()), "/b").await;
        assert_eq!(socket, [Candidate { place: "/a".into(), why: Why::Named }]);
        assert!(places(AgentAt::Nowhere, "/b").await.is_empty());
        let other = places(AgentAt::Variable("SOMETHING_ELSE".into()), "/b").await;
        assert!(other.is_empty(), "{other:?}");
    }
}
