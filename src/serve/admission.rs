//! Which pictures are admitted, and in which order the engine gets them: fair between clients, and nothing that cannot be in
//! time. No clock and no I/O of its own but waiting.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use crate::anomaly::Prediction;
use crate::frame::Image;

/// Batches whose median tells how long a picture takes: one that stood still with the computer says nothing.
const TIMED: usize = 5;
/// What was measured longer ago keeps nobody out of a server that has nothing to do.
const FORGOTTEN: Duration = Duration::from_secs(1);
/// So long after two pictures were here at the same time, another one is worth waiting for.
const COMPANY: Duration = Duration::from_secs(1);

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Refused {
    #[error("as many pictures wait as may; ask another server, or later")]
    Busy,
    #[error("the deadline cannot be met: an answer takes about {needs_ms} ms, {left_ms} ms are left")]
    Late { needs_ms: u64, left_ms: u64 },
    #[error("the server stops; ask another one")]
    Stopping,
    #[error("the engine failed: {0}")]
    Engine(String),
}

/// A picture that waits for the engine.
pub(super) struct Job {
    pub image: Image,
    /// Until when its answer counts.
    pub due: Option<Instant>,
    pub tokens: bool,
    pub paths: bool,
    pub arrived: Instant,
    pub reply: oneshot::Sender<Result<Prediction, Refused>>,
}

/// What waits.
pub(super) struct Queue {
    inner: Mutex<Inner>,
    filled: Condvar,
    most: usize,
}

struct Inner {
    /// One per client with pictures waiting; the first is served next.
    lanes: VecDeque<(u64, VecDeque<Job>)>,
    waiting: usize,
    /// Pictures the engine looks at now.
    running: usize,
    /// Time of a picture in each of the newest batches.
    per_picture: VecDeque<Duration>,
    /// When the newest of them was done.
    done: Instant,
    /// When two pictures were here at the same time last.
    together: Option<Instant>,
    closed: bool,
}

impl Inner {
    /// Pictures that are served before the next one of `client`: each lane gets its turn as often.
    fn ahead(&self, client: u64) -> usize {
        let own = self.lanes.iter().find(|(owner, _)| *owner == client).map_or(0, |(_, lane)| lane.len());
        let others = self.lanes.iter().filter(|(owner, _)| *owner != client);
        own + others.map(|(_, lane)| lane.len().min(own + 1)).sum::<usize>()
    }

    /// What a picture takes; unknown until the first batch.
    fn each(&self) -> Option<Duration> {
        let mut sorted: Vec<Duration> = self.per_picture.iter().copied().collect();
        sorted.sort_unstable();
        sorted.get(sorted.len() / 2).copied()
    }

    /// Makes room at the cost of the longest lane, when the newcomer's is shorter by more than this picture.
    fn make_room(&mut self, client: u64) -> bool {
        let own = self.lanes.iter().find(|(owner, _)| *owner == client).map_or(0, |(_, lane)| lane.len());
        let Some((_, longest)) = self.lanes.iter_mut().max_by_key(|(_, lane)| lane.len()) else { return false };
        if longest.len() <= own + 1 {
            return false;
        }
        if let Some(job) = longest.pop_back() {
            self.waiting -= 1;
            answer(job, Err(Refused::Busy));
        }
        true
    }

    fn next(&mut self, now: Instant) -> Option<Job> {
        while let Some((client, mut lane)) = self.lanes.pop_front() {
            let Some(job) = lane.pop_front() else { continue };
            self.waiting -= 1;
            if !lane.is_empty() {
                self.lanes.push_back((client, lane));
            }
            if job.reply.is_closed() {
                continue;
            }
            match job.due {
                Some(due) if due <= now => answer(job, Err(Refused::Late { needs_ms: 0, left_ms: 0 })),
                _ => return Some(job),
            }
        }
        None
    }

    fn oldest(&self) -> Option<Instant> {
        self.lanes.iter().filter_map(|(_, lane)| lane.front()).map(|job| job.arrived).min()
    }
}

/// Whoever asked may have gone meanwhile.
pub(super) fn answer(job: Job, answer: Result<Prediction, Refused>) {
    if job.reply.send(answer).is_err() {
        tracing::trace!("nobody waits for this answer any more");
    }
}

impl Queue {
    /// With room for `most` pictures.
    pub fn new(most: usize) -> Self {
        let inner = Inner {
            lanes: VecDeque::new(),
            waiting: 0,
            running: 0,
            per_picture: VecDeque::new(),
            done: Instant::now(),
            together: None,
            closed: false,
        };
        Self { inner: Mutex::new(inner), filled: Condvar::new(), most: most.max(1) }
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a picture of `client`, or says at once why not.
    pub fn offer(&self, client: u64, job: Job) -> Result<(), Refused> {
        let mut inner = self.inner();
        if inner.closed {
            return Err(Refused::Stopping);
        }
        if let (Some(due), Some(each)) = (job.due, inner.each()) {
            let now = Instant::now();
            let before = u32::try_from(inner.ahead(client) + inner.running).unwrap_or(u32::MAX);
            let needs = each.saturating_mul(before.saturating_add(1));
            let left = due.saturating_duration_since(now);
            let tried = before == 0 && !left.is_zero() && now >= inner.done + FORGOTTEN;
            if needs > left && !tried {
                let [needs_ms, left_ms] = [needs, left].map(|time| time.as_millis() as u64);
                return Err(Refused::Late { needs_ms, left_ms });
            }
        }
        if inner.waiting >= self.most && !inner.make_room(client) {
            return Err(Refused::Busy);
        }
        match inner.lanes.iter_mut().find(|(owner, _)| *owner == client) {
            Some((_, lane)) => lane.push_back(job),
            None => inner.lanes.push_back((client, VecDeque::from([job]))),
        }
        if inner.waiting + inner.running > 0 {
            inner.together = Some(Instant::now());
        }
        inner.waiting += 1;
        self.filled.notify_one();
        Ok(())
    }

    /// Waits for a batch: full, or with a picture that has waited for `max_wait`; where pictures come one at a time, none waits for
    /// another. Empty after `idle` without any; `None` when the queue is closed and empty.
    pub fn take(&self, most: usize, max_wait: Duration, idle: Duration) -> Option<Vec<Job>> {
        let begin = Instant::now();
        let mut inner = self.inner();
        loop {
            let now = Instant::now();
            let company = inner.together.is_some_and(|at| now < at + COMPANY);
            let max_wait = if company { max_wait } else { Duration::ZERO };
            let full = inner.waiting >= most;
            let waited_out = inner.oldest().is_some_and(|oldest| now >= oldest + max_wait);
            if full || waited_out || (inner.closed && inner.waiting > 0) {
                let batch: Vec<Job> = std::iter::from_fn(|| inner.next(now)).take(most).collect();
                if !batch.is_empty() {
                    inner.running = batch.len();
                    return Some(batch);
                }
                continue;
            }
            if inner.closed {
                return None;
            }
            let left = match inner.oldest() {
                Some(oldest) => (oldest + max_wait).saturating_duration_since(now),
                None if now >= begin + idle => return Some(Vec::new()),
                None => (begin + idle).saturating_duration_since(now),
            };
            inner = self.filled.wait_timeout(inner, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// The engine has looked at so many, which took so long.
    pub fn done(&self, pictures: usize, took: Duration) {
        let mut inner = self.inner();
        inner.running = 0;
        let each = took / u32::try_from(pictures.max(1)).unwrap_or(u32::MAX);
        inner.done = Instant::now();
        if inner.per_picture.len() == TIMED {
            inner.per_picture.pop_front();
        }
        inner.per_picture.push_back(each);
    }

    /// Admits nothing any more.
    pub fn close(&self) {
        self.inner().closed = true;
        self.filled.notify_all();
    }

    /// Pictures that wait.
    pub fn waiting(&self) -> usize {
        self.inner().waiting
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::PixelFormat;

    type Answer = oneshot::Receiver<Result<Prediction, Refused>>;

    fn job(mark: u8, due: Option<Instant>) -> (Job, Answer) {
        let (reply, answer) = oneshot::channel();
        let image = Image::new(1, 1, PixelFormat::Gray8, vec![mark]).expect("fits");
        (Job { image, due, tokens: false, paths: false, arrived: Instant::now(), reply }, answer)
    }

    fn marks(batch: &[Job]) -> Vec<u8> {
        batch.iter().map(|job| job.image.data()[0]).collect()
    }

    fn take(queue: &Queue, most: usize) -> Vec<Job> {
        queue.take(most, Duration::ZERO, Duration::ZERO).expect("open")
    }

    #[test]
    fn clients_take_turns() {
        let queue = Queue::new(100);
        let mut answers = Vec::new();
        for (client, mark) in [(1, 10), (1, 11), (1, 12), (2, 20), (3, 30), (2, 21)] {
            let (job, answer) = job(mark, None);
            queue.offer(client, job).expect("room");
            answers.push(answer);
        }
        assert_eq!(marks(&take(&queue, 4)), [10, 20, 30, 11]);
        assert_eq!(marks(&take(&queue, 4)), [21, 12]);
        assert!(take(&queue, 4).is_empty());
    }

    #[test]
    fn a_full_queue_makes_room_for_whoever_has_less() {
        let queue = Queue::new(3);
        let offer = |client, mark| {
            let (job, answer) = job(mark, None);
            queue.offer(client, job).map(|()| answer)
        };
        let mut greedy: Vec<Answer> = (0..3).map(|mark| offer(1, mark).expect("room")).collect();
        assert_eq!(offer(1, 3).err(), Some(Refused::Busy));
        let _modest = offer(2, 20).expect("its share");
        assert_eq!(greedy[2].try_recv().expect("answered").err(), Some(Refused::Busy));
        // Two against one: the next of the modest client would have as many.
        assert_eq!(offer(2, 21).err(), Some(Refused::Busy));
        assert_eq!(marks(&take(&queue, 8)), [0, 20, 1]);
    }

    #[test]
    fn what_cannot_be_in_time_is_refused_at_once() {
        let queue = Queue::new(100);
        queue.done(1, Duration::from_millis(50));
        let soon = Instant::now() + Duration::from_millis(120);
        let (first, _first) = job(1, Some(soon));
        let (second, _second) = job(2, Some(soon));
        let (third, _third) = job(3, Some(soon));
        queue.offer(1, first).expect("50 ms");
        queue.offer(1, second).expect("100 ms");
        assert!(matches!(queue.offer(1, third), Err(Refused::Late { needs_ms: 150, .. })));
        // Another client's turn comes after one of them.
        let (other, _other) = job(4, Some(soon));
        queue.offer(2, other).expect("100 ms");
    }

    #[test]
    fn a_computer_that_stood_still_is_not_slow_for_ever() {
        let queue = Queue::new(100);
        let due = || Some(Instant::now() + Duration::from_millis(100));
        let (pictures, mut answers): (Vec<Job>, Vec<Answer>) = (0..5).map(|mark| job(mark, due())).unzip();
        let mut pictures = pictures.into_iter();
        let mut offer = || queue.offer(1, pictures.next().expect("enough"));
        // One batch of three as long as that changes nothing.
        [1, 60_000, 1].into_iter().for_each(|ms| queue.done(1, Duration::from_millis(ms)));
        offer().expect("in time");
        assert_eq!(marks(&take(&queue, 8)), [0]);
        (0..TIMED).for_each(|_| queue.done(1, Duration::from_secs(60)));
        assert!(matches!(offer(), Err(Refused::Late { .. })));
        // When it has had nothing to do for a while, it is tried again; whoever comes meanwhile would have to wait.
        queue.inner().done -= FORGOTTEN;
        offer().expect("nothing to do");
        assert!(matches!(offer(), Err(Refused::Late { .. })));
        answers.clear();
    }

    #[test]
    fn a_picture_waits_for_company_only_where_there_is_some() {
        let queue = Queue::new(100);
        let hour = Duration::from_secs(3600);
        let mut answers = Vec::new();
        let mut offer = |mark| {
            let (job, answer) = job(mark, None);
            queue.offer(1, job).expect("room");
            answers.push(answer);
        };
        for mark in [1, 2] {
            offer(mark);
            assert_eq!(queue.take(8, hour, hour).map(|batch| marks(&batch)), Some(vec![mark]), "one at a time");
            queue.done(1, Duration::from_millis(1));
        }
        // While the engine looks at one, the next comes: this one waits until the batch is full.
        offer(3);
        assert_eq!(marks(&take(&queue, 8)), [3]);
        offer(4);
        queue.done(1, Duration::from_millis(1));
        let began = Instant::now();
        assert_eq!(queue.take(2, Duration::from_millis(30), hour).map(|batch| marks(&batch)), Some(vec![4]));
        assert!(began.elapsed() >= Duration::from_millis(25), "it has waited");
    }

    #[test]
    fn nobody_is_looked_at_who_has_gone_or_is_late() {
        let queue = Queue::new(100);
        let (gone, answer) = job(1, None);
        drop(answer);
        let (late, mut told) = job(2, Some(Instant::now()));
        let (fine, _fine) = job(3, None);
        for job in [gone, late, fine] {
            queue.offer(1, job).expect("room");
        }
        assert_eq!(marks(&take(&queue, 8)), [3]);
        assert!(matches!(told.try_recv(), Ok(Err(Refused::Late { .. }))));
    }

    #[test]
    fn a_closed_queue_gives_out_what_it_has() {
        let queue = Queue::new(100);
        let (waiting, _answer) = job(1, None);
        queue.offer(1, waiting).expect("room");
        queue.close();
        let (new, _new) = job(2, None);
        assert_eq!(queue.offer(1, new).err(), Some(Refused::Stopping));
        let hour = Duration::from_secs(3600);
        assert_eq!(queue.take(8, hour, hour).map(|batch| marks(&batch)), Some(vec![1]));
        assert!(queue.take(8, hour, hour).is_none());
    }
}
