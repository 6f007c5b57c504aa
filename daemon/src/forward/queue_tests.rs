//! What must hold of a queue whatever comes in and goes out, in which order and sizes.

use super::super::services::Budgets;
use super::*;
use proptest::prelude::*;
use tokio::runtime::{Builder, Handle, Runtime};

const BOUNDS: Bounds = Bounds { buffer: 200, floor: 40, chunk: 64, overhead: 3 };
/// Longest message that the tests push.
const LONGEST: usize = 150;

fn runtime() -> Runtime {
    Builder::new_current_thread().enable_time().build().unwrap()
}

fn services(dir: &std::path::Path, budgets: Budgets) -> Arc<Services> {
    Services::new(Handle::current(), dir.to_owned(), budgets, |_| {})
}

/// Bytes in, bytes out, and what should be where.
struct Stream {
    queue: Queue,
    pushed: usize,
    taken: usize,
}

impl Stream {
    fn new(services: &Services) -> Stream {
        Stream { queue: Queue::new(BOUNDS, services), pushed: 0, taken: 0 }
    }

    /// The byte at a place of the stream: no short period, so that a swap of chunks is seen.
    fn byte(place: usize) -> u8 {
        (place % 251) as u8 ^ (place / 251 % 241) as u8
    }

    fn push(&mut self, length: usize) -> bool {
        if !self.queue.takes() {
            return false;
        }
        self.queue.push((self.pushed..self.pushed + length).map(Self::byte).collect::<Vec<_>>().into());
        self.pushed += length;
        self.queue.arrange();
        true
    }

    fn take(&mut self, most: usize) -> usize {
        let mut slices = [IoSlice::new(&[]); 4];
        let filled = self.queue.front(&mut slices);
        let bytes: Vec<u8> = slices[..filled].iter().flat_map(|s| s.to_vec()).take(most).collect();
        let expected: Vec<u8> = (self.taken..self.taken + bytes.len()).map(Self::byte).collect();
        assert_eq!(bytes, expected, "after {} bytes", self.taken);
        self.taken += bytes.len();
        self.queue.consume(bytes.len());
        self.queue.arrange();
        bytes.len()
    }

    async fn turn(&mut self) {
        if self.queue.job.is_some() {
            self.queue.turn().await.unwrap();
            self.queue.arrange();
        }
    }

    /// Lets the disk do all it can without anything being taken out.
    async fn settle(&mut self) {
        while self.queue.job.is_some() {
            self.turn().await;
        }
    }

    async fn drain(&mut self) {
        while !self.queue.is_empty() {
            if self.take(usize::MAX) == 0 {
                assert!(
                    self.queue.job.is_some(),
                    "nothing moves and {} bytes are left",
                    self.pushed - self.taken
                );
                self.turn().await;
            }
        }
        assert_eq!(self.taken, self.pushed);
    }

    fn check_bounds(&self) {
        let most = BOUNDS.buffer + (BOUNDS.chunk + LONGEST) as u64;
        assert!(self.queue.head_cost <= most, "{} in memory", self.queue.head_cost);
        assert!(self.queue.tail_bytes < 3 * BOUNDS.chunk + LONGEST, "{} in the tail", self.queue.tail_bytes);
    }
}

/// Jobs give back what they cut off when they get to it.
async fn until_given_back(services: &Services, budgets: Budgets) {
    for _ in 0..20_000 {
        if (services.memory.left(), services.spool.left()) == (budgets.memory, budgets.spool) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    panic!("{} of memory and {} of disk are left", services.memory.left(), services.spool.left());
}

#[derive(Clone, Debug)]
enum Step {
    Push(usize, usize),
    Take(usize, usize),
    Turn(usize),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0..2usize, 0..=LONGEST).prop_map(|(who, n)| Step::Push(who, n)),
        2 => (0..2usize, 1..=LONGEST).prop_map(|(who, n)| Step::Take(who, n)),
        2 => (0..2usize).prop_map(Step::Turn),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, max_shrink_time: 15_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_byte_comes_out_in_order_within_bounds_and_all_room_is_given_back(
        steps in prop::collection::vec(step(), 1..160),
        slots in 0..6u64,
        memory in 0..300u64,
    ) {
        runtime().block_on(async {
            let dir = tempfile::tempdir().unwrap();
            let budgets = Budgets { memory, spool: slots * BOUNDS.chunk as u64 };
            let services = services(dir.path(), budgets);
            let mut streams = [Stream::new(&services), Stream::new(&services)];
            for step in steps {
                match step {
                    Step::Push(who, length) => { streams[who].push(length); }
                    Step::Take(who, most) => { streams[who].take(most); }
                    Step::Turn(who) => streams[who].turn().await,
                }
                streams.iter().for_each(Stream::check_bounds);
            }
            let [mut drained, dropped] = streams;
            drained.drain().await;
            drop(dropped);
            drop(drained);
            until_given_back(&services, budgets).await;
        });
    }
}

#[test]
fn a_full_queue_takes_no_more_until_something_was_taken_out() {
    runtime().block_on(async {
        let dir = tempfile::tempdir().unwrap();
        let services = services(dir.path(), Budgets { memory: 1 << 20, spool: 128 });
        let mut stream = Stream::new(&services);
        while stream.push(50) {
            stream.settle().await;
        }
        assert!(stream.queue.is_full() && stream.queue.spills());
        assert_eq!(services.spool.left(), 0);
        stream.drain().await;
        assert!(stream.push(50) && !stream.queue.is_full());
        stream.drain().await;
    });
}

#[test]
fn a_disk_that_fails_loses_nothing() {
    runtime().block_on(async {
        let dir = tempfile::tempdir().unwrap();
        let in_the_way = dir.path().join("state");
        std::fs::write(&in_the_way, "a file where a directory should be").unwrap();
        let budgets = Budgets { memory: 0, spool: 1 << 20 };
        let services = services(&in_the_way, budgets);
        let mut stream = Stream::new(&services);
        while stream.push(50) {
            stream.settle().await;
        }
        assert!(stream.queue.is_full());
        stream.drain().await;
        drop(stream);
        until_given_back(&services, budgets).await;
    });
}

#[test]
fn the_spool_is_never_seen_in_its_directory() {
    runtime().block_on(async {
        let dir = tempfile::tempdir().unwrap();
        let services = services(dir.path(), Budgets { memory: 0, spool: 1 << 20 });
        let mut stream = Stream::new(&services);
        for _ in 0..40 {
            assert!(stream.push(LONGEST));
            stream.settle().await;
        }
        assert!(services.spool.left() < 1 << 20);
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
        stream.drain().await;
    });
}

#[test]
fn a_flood_of_tiny_messages_takes_no_more_memory_than_its_bytes_may() {
    runtime().block_on(async {
        let dir = tempfile::tempdir().unwrap();
        let services = services(dir.path(), Budgets { memory: 0, spool: 0 });
        let mut stream = Stream::new(&services);
        while stream.push(1) {
            let messages = stream.queue.tail.len() + stream.queue.head.len();
            assert!(messages as u64 <= BOUNDS.buffer / BOUNDS.overhead + BOUNDS.chunk as u64, "{messages}");
        }
        assert!(stream.queue.tail.len() <= 1 + BOUNDS.chunk / BOUNDS.overhead as usize);
        stream.drain().await;
    });
}
