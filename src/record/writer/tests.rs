#![allow(clippy::unwrap_used, clippy::panic)]

use std::path::Path;

use parking_lot::Mutex;

use super::*;
use crate::call::{MediaBug, RegisterError, Sink};
use crate::event::{Event, RecordStatus};
use crate::media::{CaptureFormat, TapWriter, tap_ring};
use crate::units::{CallId, SampleRate, StreamName};

const MONO: CaptureFormat = CaptureFormat { rate: SampleRate::HZ_8000, channels: 1 };

/// A disk of `room` bytes that everybody can look at.
#[derive(Clone, Default)]
struct Disk {
    file: Arc<Mutex<Vec<u8>>>,
    room: u64,
}

impl Storage for Disk {
    /// Writes what fits, as a disk does, and fails when that is not all.
    fn write_at(&mut self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let mut file = self.file.lock();
        for (at, byte) in (offset..).zip(bytes) {
            if at >= self.room {
                return Err(io::Error::from(io::ErrorKind::StorageFull));
            }
            let at = usize::try_from(at).unwrap();
            if at >= file.len() {
                file.resize(at + 1, 0);
            }
            file[at] = *byte;
        }
        Ok(())
    }

    fn cut(&mut self, length: u64) -> io::Result<()> {
        self.file.lock().truncate(usize::try_from(length).unwrap());
        Ok(())
    }
}

#[derive(Default)]
struct Heard {
    events: Mutex<Vec<Event>>,
    detached: Mutex<u32>,
}

impl Sink<RecordingHandle> for Heard {
    fn emit(&self, _recording: &Arc<RecordingHandle>, event: Event) {
        self.events.lock().push(event);
    }

    fn detach(&self, _recording: &Arc<RecordingHandle>) {
        *self.detached.lock() += 1;
    }
}

/// A media bug that is never taken off.
struct Bug;

impl MediaBug for Bug {
    fn detach(&self) {}
}

/// A recording whose call is the test.
struct Fixture {
    handle: Arc<RecordingHandle>,
    registry: Arc<RecordRegistry>,
    caller: Option<TapWriter>,
    heard: Option<TapWriter>,
    sink: Arc<Heard>,
    disk: Disk,
    writer: RecordingWriter,
}

impl Fixture {
    fn new(room: u64) -> Self {
        let started = Instant::now();
        let (caller, caller_out, caller_shared) = tap_ring(16_000, started);
        let (heard, heard_out, heard_shared) = tap_ring(16_000, started);
        let registry = Arc::new(RecordRegistry::default());
        let key = (CallId::new("call"), StreamName::default());
        let reservation = registry.reserve(&key.0, &key.1).unwrap();
        let handle = RecordingHandle::new(
            reservation.id,
            key,
            Path::new("/r/a.wav").to_owned(),
            SampleRate::HZ_8000,
            started,
            [caller_shared, heard_shared],
        );
        reservation.attach(&handle, || Ok::<_, RegisterError>(Box::new(Bug))).unwrap();
        let (disk, sink) = (Disk { file: Arc::default(), room }, Arc::new(Heard::default()));
        disk.file.lock().extend(wav::header(handle.rate, 0));
        let taps = [caller_out, heard_out];
        let writer = RecordingWriter::new(handle.clone(), registry.clone(), sink.clone(), taps, Box::new(disk.clone()));
        Self { handle, registry, caller: Some(caller), heard: Some(heard), sink, disk, writer }
    }

    /// Both directions give the frame of `ms` to `ms` + 20: all samples of the value.
    fn frame(&mut self, ms: u64, said: i16, heard: i16) {
        let at = Duration::from_millis(ms + 20);
        assert!(self.caller.as_mut().unwrap().frame_at(at, MONO, &[said; 160]));
        assert!(self.heard.as_mut().unwrap().frame_at(at, MONO, &[heard; 160]));
    }

    fn round(&mut self, ms: u64) -> Progress {
        let now = self.handle.started + Duration::from_millis(ms);
        self.writer.round(now, false)
    }

    /// A second of frames in ten rounds, from `from` on.
    fn second(&mut self, from: u64) -> Progress {
        let mut progress = Progress::Running;
        for tenth in 0..10 {
            for frame in 0..5 {
                if progress == Progress::Running {
                    self.frame(from + tenth * 100 + frame * 20, 1_000, -2_000);
                }
            }
            if progress == Progress::Running {
                progress = self.round(from + (tenth + 1) * 100);
            }
        }
        progress
    }

    fn close(&mut self) {
        drop((self.caller.take(), self.heard.take()));
        self.handle.bug_closed(None);
    }

    /// What a reader finds in the file now.
    fn samples(&self) -> Vec<i16> {
        let file = self.disk.file.lock().clone();
        let mut reader = hound::WavReader::new(&file[..]).unwrap();
        reader.samples().map(Result::unwrap).collect()
    }

    fn events(&self) -> Vec<Event> {
        self.sink.events.lock().clone()
    }
}

#[test]
fn a_crash_leaves_a_valid_file_that_lacks_under_a_second() {
    let mut fixture = Fixture::new(u64::MAX);
    for second in 0..3 {
        for tenth in 0..10 {
            for frame in 0..5 {
                fixture.frame(second * 1_000 + tenth * 100 + frame * 20, 1_000, -2_000);
            }
            let now = second * 1_000 + (tenth + 1) * 100;
            assert_eq!(fixture.round(now), Progress::Running);
            let there = fixture.samples();
            assert!(there.chunks(2).all(|pair| pair == [1_000, -2_000]));
            assert!(there.len() as u64 / 16 + 1_000 > now, "at {now} ms there are {} ms", there.len() / 16);
        }
    }
    let status = fixture.handle.status();
    assert_eq!(status.duration_ms, fixture.samples().len() as u64 / 16, "health tells what is in the file");
}

#[test]
fn even_a_call_without_a_frame_is_written_within_a_second() {
    let mut fixture = Fixture::new(u64::MAX);
    for tenth in 1..=30 {
        fixture.round(tenth * 100);
        assert!(fixture.samples().len() as u64 / 16 + 1_000 > tenth * 100);
    }
}

#[test]
fn the_end_of_the_call_completes_the_file_and_reports_it_once() {
    let mut fixture = Fixture::new(u64::MAX);
    fixture.second(0);
    fixture.frame(1_000, 1_000, -2_000);
    fixture.close();
    assert_eq!(fixture.round(1_030), Progress::Over);
    assert_eq!(fixture.samples()[..2 * 8_160], [1_000, -2_000].repeat(8_160));
    let [Event::Record(Record::Stopped { status, reason })] = &fixture.events()[..] else {
        panic!("{:?}", fixture.events())
    };
    assert_eq!(**reason, *"the call ended");
    let RecordStatus { caller, heard, dropped_frames, .. } = status;
    assert_eq!((caller.peak, heard.peak, *dropped_frames), (1_000, 2_000, 0));
    assert_eq!((caller.mean_square, heard.mean_square), (1_000_000, 4_000_000));
    assert!(fixture.handle.wait_finished(Duration::ZERO) && fixture.registry.all().is_empty());
    assert_eq!(*fixture.sink.detached.lock(), 0, "the bug is gone already");
}

#[test]
fn a_full_disk_is_an_error_and_the_file_keeps_what_fitted() {
    let mut fixture = Fixture::new(wav::HEADER + 40_000);
    let mut ms = 0;
    while fixture.second(ms) == Progress::Running {
        ms += 1_000;
    }
    let events = fixture.events();
    let [Event::Error(Error { code, message, .. }), Event::Record(Record::Failed { status, reason })] = &events[..]
    else {
        panic!("{events:?}")
    };
    assert_eq!((*code, message), (ErrorCode::Io, reason));
    assert!(reason.starts_with("recording to /r/a.wav ended: "), "{reason}");
    let there = fixture.samples();
    assert!(!there.is_empty() && there.len() * 2 <= 40_000);
    assert!(there.chunks(2).all(|pair| pair == [1_000, -2_000]));
    assert_eq!(fixture.disk.file.lock().len(), there.len() * 2 + 44, "nothing is left behind the samples");
    assert_eq!(status.duration_ms, there.len() as u64 / 16);
    assert_eq!(*fixture.sink.detached.lock(), 1, "the bug is taken off the call, which goes on");
    assert!(fixture.handle.taps.iter().all(|tap| tap.is_leaving()), "the callbacks do nothing more");
    assert!(fixture.registry.all().is_empty() && fixture.handle.wait_finished(Duration::ZERO));
}

#[test]
fn a_file_at_the_maximum_size_of_a_wav_file_ends_complete() {
    let mut fixture = Fixture::new(u64::MAX);
    fixture.writer.most_data = 20_000;
    assert_eq!(fixture.second(0), Progress::Over);
    assert_eq!(fixture.samples(), [1_000, -2_000].repeat(5_000));
    let [Event::Record(Record::Stopped { reason, .. })] = &fixture.events()[..] else {
        panic!("{:?}", fixture.events())
    };
    assert_eq!(**reason, *"the file has reached the 4 GiB that a WAV file can have");
    assert_eq!(*fixture.sink.detached.lock(), 1);
}

#[test]
fn a_panic_of_a_callback_ends_the_recording_with_an_error() {
    let mut fixture = Fixture::new(u64::MAX);
    fixture.second(0);
    fixture.handle.taps[1].panicked();
    assert_eq!(fixture.round(1_100), Progress::Over);
    assert!(matches!(fixture.events()[..], [Event::Error(_), Event::Record(Record::Failed { .. })]));
}

#[test]
fn frames_lost_to_a_stalled_disk_are_silence_of_their_length() {
    let mut fixture = Fixture::new(u64::MAX);
    fixture.second(0);
    // The rings hold two seconds; the writer comes back after three.
    let mut dropped = 0;
    for frame in 50..200 {
        let at = Duration::from_millis(frame * 20 + 20);
        for tap in [&mut fixture.caller, &mut fixture.heard] {
            dropped += u64::from(!tap.as_mut().unwrap().frame_at(at, MONO, &[3_000; 160]));
        }
    }
    assert_eq!(dropped, 100);
    fixture.round(4_000);
    assert_eq!(fixture.handle.status().dropped_frames, 100);
    for frame in 200..250 {
        fixture.frame(frame * 20, 4_000, 4_000);
    }
    fixture.round(5_000);
    fixture.close();
    fixture.round(5_000);
    let left: Vec<i16> = fixture.samples().into_iter().step_by(2).collect();
    assert_eq!(left[..8_000], [1_000; 8_000]);
    assert_eq!(left[8_000..24_000], [3_000; 16_000]);
    assert_eq!(left[24_000..32_000], [0; 8_000]);
    assert_eq!(left[32_000..40_000], [4_000; 8_000]);
}
