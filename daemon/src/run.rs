//! Puts the parts together, in the order that safety asks for: settings, locks, socket, then everything that
//! moves.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use nbtunnel_proto::server::Listener;
use nbtunnel_proto::{Endpoint, Fault, FaultCode, places};
use tokio::runtime::{Builder, Handle};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;

use nbtunneld::args::Args;
use nbtunneld::config::{self, Context, Watch};
use nbtunneld::driver::{Driver, Parts};
use nbtunneld::event::{Event, Events};
use nbtunneld::forward::{Budgets, Services};
use nbtunneld::history_file::history_path;
use nbtunneld::service::activation::{self, HandedOver};
use nbtunneld::service::instance::{Lock, LockError};
use nbtunneld::service::signals::{self, Signal};
use nbtunneld::service::store::Handed;
use nbtunneld::service::{dumps, limits};
use nbtunneld::ssh::{Account, AgentAt, Links};
use nbtunneld::wake::{Clock, stopwatch};
use nbtunneld::{control, logging, ssh_config, wake};

/// Exit code for everything else that keeps the daemon from starting.
const FAILED: u8 = 1;
/// Exit code for a command line or an environment that makes no sense.
const USAGE: u8 = 2;
/// Exit code when another daemon runs on the same socket or directory.
const ALREADY_RUNNING: u8 = 10;

/// Why the daemon does not start, and its exit code for that.
struct Refusal {
    fault: Fault,
    code: u8,
}

impl From<Fault> for Refusal {
    fn from(fault: Fault) -> Refusal {
        let code = if fault.code == FaultCode::Usage { USAGE } else { FAILED };
        Refusal { fault, code }
    }
}

impl From<LockError> for Refusal {
    fn from(why: LockError) -> Refusal {
        let code = if matches!(why, LockError::Running { .. }) { ALREADY_RUNNING } else { FAILED };
        Refusal { fault: Fault::new(FaultCode::Failed, why.to_string(), why.hint()), code }
    }
}

/// Runs the program. What keeps it from starting is said on stderr, and to the clients of a socket that was
/// handed over.
pub(crate) fn run(args: Args) -> ExitCode {
    let mut handed_over = activation::take();
    start(args, &mut handed_over).unwrap_or_else(|refusal| {
        complain(&refusal.fault);
        if let Some(socket) = handed_over.control.into_iter().next() {
            turn_away(socket, &refusal.fault);
        }
        ExitCode::from(refusal.code)
    })
}

fn start(args: Args, handed_over: &mut HandedOver) -> Result<ExitCode, Refusal> {
    let config_dir = places::config_dir(args.config_dir.clone())?;
    if let Some(path) = &args.check {
        return Ok(check(path.as_deref(), &config_dir, args.json)?);
    }
    if let Some(file) = args.list_hosts {
        return Ok(list_hosts(file)?);
    }
    let filter = logging::init(args.log.as_deref())
        .map_err(|why| Fault::new(FaultCode::Usage, why, "see `nbtunneld --help`"))?;
    dumps::forbid();
    let descriptors = limits::Descriptors::raise();
    tracing::debug!("{} descriptors may be open", descriptors.limit());
    let endpoint = Endpoint::resolve(args.socket)?;
    endpoint.prepare()?;
    let locks = lock(&endpoint, &config_dir)?;
    let state_dir = places::state_dir()?;

    let main = Builder::new_current_thread().enable_all().build().map_err(no_runtime)?;
    let (data, ended) = DataThread::start()?;
    let ended = async {
        let _ = ended.await;
    };
    let served = main.block_on(serve(
        &endpoint,
        std::mem::take(handed_over),
        &config_dir,
        &state_dir,
        data.handle.clone(),
        filter,
        ended,
    ));
    main.shutdown_background();
    data.stop();
    drop(locks);
    served?;
    Ok(ExitCode::SUCCESS)
}

/// One daemon a socket and one a config directory. The second lock lies where every daemon of this user
/// looks, whatever its socket.
fn lock(endpoint: &Endpoint, config_dir: &Path) -> Result<[Lock; 2], Refusal> {
    let usual = Endpoint::usual()?;
    usual.prepare()?;
    let (runtime_dir, shared_dir) = (endpoint.runtime_dir()?, usual.runtime_dir()?);
    let of_socket = Lock::for_socket(&runtime_dir, endpoint.path())?;
    Ok([of_socket, Lock::for_config_dir(&shared_dir, config_dir)?])
}

/// Without a runtime nobody can be told anything.
fn turn_away(socket: activation::Inherited, fault: &Fault) {
    let Ok(runtime) = Builder::new_current_thread().enable_all().build() else { return };
    runtime.block_on(async {
        if let Ok(listener) = Listener::adopt(socket) {
            control::turn_away(listener, fault).await;
        }
    });
}

/// Says on stderr what went wrong, when there is no log yet or nobody reads it.
fn complain(fault: &Fault) {
    let mut text = format!("nbtunneld: {}\n", fault.message);
    if !fault.hint.is_empty() {
        text.push_str(&format!("  hint: {}\n", fault.hint));
    }
    // With stderr closed there is nobody left to tell.
    let _ = std::io::stderr().write_all(text.as_bytes());
}

fn check(path: Option<&Path>, config_dir: &Path, json: bool) -> Result<ExitCode, Fault> {
    let (text, code) = config::check_main(path, config_dir, &Context::of_this_user(), json);
    print(&text)?;
    Ok(ExitCode::from(code))
}

fn list_hosts(file: Option<PathBuf>) -> Result<ExitCode, Fault> {
    let runtime = Builder::new_current_thread().enable_all().build().map_err(no_runtime)?;
    let text = runtime
        .block_on(ssh_config::list_json(file, &Context::of_this_user().home))
        .map_err(|why| Fault::new(FaultCode::Failed, why.message, why.hint))?;
    print(&text)?;
    Ok(ExitCode::SUCCESS)
}

fn print(text: &str) -> Result<(), Fault> {
    std::io::stdout().write_all(text.as_bytes()).map_err(|why| {
        Fault::new(
            FaultCode::Failed,
            format!("the result could not be written: {why}"),
            "check where stdout leads",
        )
    })
}

async fn serve(
    endpoint: &Endpoint,
    handed_over: HandedOver,
    config_dir: &Path,
    state_dir: &Path,
    data: Handle,
    filter: logging::Filter,
    data_ended: impl Future<Output = ()> + Send + 'static,
) -> Result<(), Fault> {
    let listener = listen(endpoint, handed_over.control)?;
    let (events, inbox) = mpsc::unbounded_channel();
    let (closing, closed) = watch::channel(false);
    let mut control =
        Part::spawn(&Handle::current(), &events, control::serve(listener, events.clone(), closed));
    let data_thread = Part::spawn(&Handle::current(), &events, data_ended);

    let heard = events.clone();
    signals::listen(move |signal| {
        let _ = heard.send(match signal {
            Signal::Stop => Event::Stop,
            Signal::Reload => Event::Reload,
        });
    })
    .map_err(|why| {
        Fault::new(FaultCode::Failed, format!("signals cannot be received: {why}"), "report this as a bug")
    })?;

    let nudged = events.clone();
    wake::watch(&Handle::current(), move |nudge, reason| {
        let _ = nudged.send(Event::Nudged(nudge, reason));
    });

    let clock = Clock;
    let ports_path = Some(config::ports_path(state_dir, config_dir));
    let context = Context { ports_path, ..Context::of_this_user() };
    if !context.owner_only {
        tracing::info!("{}", config::LETS_IN_OTHERS);
    }
    let account = Account { home: context.home.clone(), user: context.user.clone() };
    let parts = Parts {
        seed: clock.wall_ms() ^ (u64::from(std::process::id()) << 32),
        clock,
        links: Links::new(data.clone(), stopwatch(), AgentAt::Usual, account),
        services: services(data.clone(), state_dir, handed_over.forwards, &events),
        data,
        watch: watch_config(config_dir, context, &events),
        filter,
        history_path: history_path(state_dir, config_dir),
        orders_path: endpoint.runtime_dir()?.join("orders.json"),
        config_dir: config_dir.to_owned(),
        socket: endpoint.display().to_string(),
        events,
        inbox,
    };
    Driver::new(parts).run().await;
    let lost = [("the control socket", &control), ("the thread that carries data", &data_thread)];
    let lost = lost.into_iter().find(|(_, part)| part.is_over()).map(|(what, _)| what);
    // Clients have their last answers by now, or a moment to get them.
    closing.send_replace(true);
    control.ended().await;
    match lost {
        None => Ok(()),
        Some(what) => Err(Fault::new(
            FaultCode::Failed,
            format!("{what} failed inside nbtunneld, which cannot go on without it"),
            "start it again, and report this with its log",
        )),
    }
}

/// A part without which the daemon would only seem to be alive: its end stops all of it, so that the service
/// manager starts it anew.
struct Part(JoinHandle<()>);

impl Part {
    fn spawn(on: &Handle, events: &Events, part: impl Future<Output = ()> + Send + 'static) -> Part {
        let stop = StopOnDrop(events.clone());
        Part(on.spawn(async move {
            let _stop = stop;
            part.await;
        }))
    }

    fn is_over(&self) -> bool {
        self.0.is_finished()
    }

    /// Returns when it has ended, however it did.
    async fn ended(&mut self) {
        let _ = (&mut self.0).await;
    }
}

struct StopOnDrop(Events);

impl Drop for StopOnDrop {
    fn drop(&mut self) {
        let _ = self.0.send(Event::Stop);
    }
}

/// The socket that a service manager hands over, else one of our own.
fn listen(endpoint: &Endpoint, inherited: Vec<activation::Inherited>) -> Result<Listener, Fault> {
    match inherited.into_iter().next() {
        Some(socket) => Listener::adopt(socket),
        None => Listener::bind(endpoint),
    }
}

fn services(data: Handle, state_dir: &Path, kept: Handed, events: &Events) -> Arc<Services> {
    let events = events.clone();
    let on_exhausted = move |exhausted| {
        let _ = events.send(Event::Exhausted(exhausted));
    };
    let services = Services::new(data, state_dir.to_owned(), Budgets::default(), on_exhausted);
    if let Some(keep) = kept.keep() {
        services.keep_listeners_by(keep);
    }
    services
}

fn watch_config(config_dir: &Path, context: Context, events: &Events) -> Watch {
    let events = events.clone();
    config::spawn(
        &Handle::current(),
        config_dir.to_owned(),
        context,
        Arc::new(move |loaded| {
            let _ = events.send(Event::Loaded(Box::new(loaded)));
        }),
    )
}

fn no_runtime(why: std::io::Error) -> Fault {
    Fault::new(
        FaultCode::Failed,
        format!("the system does not give what the daemon needs to run: {why}"),
        "look at the limits on processes and descriptors (`ulimit -a`)",
    )
}

/// The thread that carries the data, so that bulk crypto never delays a command.
struct DataThread {
    handle: Handle,
    stop: oneshot::Sender<()>,
}

impl DataThread {
    /// The thread, and what resolves when it has ended, in whatever way.
    fn start() -> Result<(DataThread, oneshot::Receiver<()>), Fault> {
        let runtime = Builder::new_current_thread().enable_all().build().map_err(no_runtime)?;
        let handle = runtime.handle().clone();
        let (stop, stopped) = oneshot::channel();
        let (running, ended) = oneshot::channel::<()>();
        std::thread::Builder::new()
            .name("data".into())
            .spawn(move || {
                // Dropped, by a panic too, when the thread ends.
                let _running = running;
                let _ = runtime.block_on(stopped);
                runtime.shutdown_background();
            })
            .map_err(no_runtime)?;
        Ok((DataThread { handle, stop }, ended))
    }

    fn stop(self) {
        // A thread that is gone already has stopped.
        let _ = self.stop.send(());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_part_that_ends_stops_the_daemon_even_when_it_panics() {
        for panics in [true, false] {
            let (events, mut inbox) = mpsc::unbounded_channel();
            let mut part =
                Part::spawn(
                    &Handle::current(),
                    &events,
                    async move { assert!(!panics, "as the test wants it") },
                );
            assert!(matches!(inbox.recv().await, Some(Event::Stop)));
            part.ended().await;
        }
        let (events, mut inbox) = mpsc::unbounded_channel();
        let (data, ended) = DataThread::start().unwrap();
        let part = Part::spawn(&Handle::current(), &events, async { drop(ended.await) });
        tokio::task::yield_now().await;
        assert!(!part.is_over());
        data.stop();
        assert!(matches!(inbox.recv().await, Some(Event::Stop)));
    }
}
