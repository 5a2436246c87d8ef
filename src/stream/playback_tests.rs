#![allow(clippy::unwrap_used)]

use std::future::poll_fn;
use std::time::Duration;

use super::*;
use crate::inject::InjectConfig;
use crate::media::{InjectMode, PlayoutReader, playout_ring};
use crate::units::SampleRate;

const MONO_8K: PcmFormat = PcmFormat { rate: SampleRate::HZ_8000, channels: 1 };

/// A call that hears what is played, frame by frame.
struct Call {
    playback: Playback,
    reader: PlayoutReader,
    heard: Vec<i16>,
    happened: Vec<PlaybackUpdate>,
    now: Instant,
}

impl Call {
    fn new(options: &StreamOptions) -> Self {
        let (writer, reader, shared) = playout_ring(SampleRate::HZ_8000, 1_920);
        let config = InjectConfig {
            min_buffer_ms: 0,
            buffer_ms: options.inject_buffer_ms,
            excess_ms: if options.inject_full == WhenFull::Wait { 600_000 } else { 0 },
            ..InjectConfig::default()
        };
        let injector = Injector::new(writer, shared, config);
        Self {
            playback: Playback::new(injector, options, Blocking::default()),
            reader,
            heard: Vec::new(),
            happened: Vec::new(),
            now: Instant::now(),
        }
    }

    fn listen(&mut self, frames: usize) {
        for _ in 0..frames {
            self.playback.pump(self.now);
            let mut frame = [0; 160];
            self.reader.render(8_000, 1, &mut frame, InjectMode::Replace);
            self.heard.extend_from_slice(&frame);
            self.now += Duration::from_millis(20);
        }
        self.playback.pump(self.now);
        while let Some(happened) = self.playback.next() {
            self.happened.push(happened);
        }
    }

    fn play(&mut self, audio: Audio) {
        self.playback.play(self.now, Play { audio, clear: false });
    }

    async fn decode(&mut self) {
        let decoded = poll_fn(|cx| self.playback.poll_decoded(cx)).await;
        self.playback.decoded(self.now, decoded);
    }

    fn marks(&self) -> Vec<(u64, bool)> {
        let marks = self.happened.iter().filter_map(|happened| match happened {
            PlaybackUpdate::Event(PlaybackEvent::MarkHeard { id, .. }) => Some((id.0, true)),
            PlaybackUpdate::Event(PlaybackEvent::MarkCleared { id, .. }) => Some((id.0, false)),
            _ => None,
        });
        marks.collect()
    }

    fn refusals(&self) -> Vec<&str> {
        let refusals = self.happened.iter().filter_map(|happened| match happened {
            PlaybackUpdate::Refused(reason) => Some(reason.as_str()),
            _ => None,
        });
        refusals.collect()
    }

    /// Levels heard, in order, each once; the glides between them and silence left out.
    fn levels(&self) -> Vec<i16> {
        let mut levels = Vec::new();
        for window in self.heard.windows(8) {
            let level = window.first().copied().unwrap_or(0);
            if level != 0 && window.iter().all(|sample| *sample == level) && levels.last() != Some(&level) {
                levels.push(level);
            }
        }
        levels
    }
}

fn options() -> StreamOptions {
    StreamOptions::default()
}

fn pcm(level: i16, samples: usize) -> Audio {
    Audio::Pcm { samples: vec![level; samples], format: MONO_8K }
}

/// A WAV file of a constant level.
fn wav(level: i16, samples: u32) -> Vec<u8> {
    let mut bytes = Vec::new();
    let data = samples * 2;
    bytes.extend(b"RIFF");
    bytes.extend((36 + data).to_le_bytes());
    bytes.extend(b"WAVEfmt ");
    bytes.extend(16_u32.to_le_bytes());
    for word in [1_u16, 1] {
        bytes.extend(word.to_le_bytes());
    }
    for word in [8_000_u32, 16_000] {
        bytes.extend(word.to_le_bytes());
    }
    for word in [2_u16, 16] {
        bytes.extend(word.to_le_bytes());
    }
    bytes.extend(b"data");
    bytes.extend(data.to_le_bytes());
    bytes.extend((0..samples).flat_map(|_| level.to_le_bytes()));
    bytes
}

fn wav_message(level: i16) -> Audio {
    Audio::Encoded { kind: AudioKind::Wav, bytes: wav(level, 800) }
}

#[tokio::test]
async fn audio_after_a_file_is_heard_after_it_and_marks_keep_place() {
    let mut call = Call::new(&options());
    call.play(pcm(1_000, 800));
    call.playback.mark(MarkId(1));
    call.play(wav_message(2_000));
    call.playback.mark(MarkId(2));
    call.play(pcm(3_000, 800));
    call.play(wav_message(4_000));
    call.playback.mark(MarkId(3));
    call.listen(6);
    assert_eq!(call.marks(), [(1, true)], "what is before the file does not wait for it");
    call.decode().await;
    call.decode().await;
    call.listen(40);
    assert_eq!(call.levels(), [1_000, 2_000, 3_000, 4_000]);
    assert_eq!(call.marks(), [(1, true), (2, true), (3, true)]);
    assert!(call.playback.is_idle());
    assert_eq!(call.refusals(), Vec::<&str>::new());
}

#[tokio::test]
async fn a_clear_drops_a_file_in_decoding_and_what_waits_behind_it() {
    let mut call = Call::new(&options());
    call.play(pcm(1_000, 8_000));
    call.playback.mark(MarkId(1));
    call.play(wav_message(2_000));
    call.playback.mark(MarkId(2));
    call.play(pcm(3_000, 800));
    call.playback.mark(MarkId(3));
    call.listen(5);
    call.playback.clear(Instant::now());
    call.play(pcm(4_000, 800));
    call.listen(20);
    assert_eq!(call.levels(), [1_000, 4_000]);
    assert_eq!(call.marks(), [(1, false), (2, false), (3, false)], "in the order they were set");
    assert!(call.playback.is_idle());
}

#[tokio::test]
async fn marks_behind_a_cleared_file_are_answered_without_playing() {
    let mut call = Call::new(&options());
    call.play(wav_message(2_000));
    call.playback.mark(MarkId(7));
    call.playback.clear(Instant::now());
    call.listen(10);
    assert_eq!(call.marks(), [(7, false)]);
    assert_eq!(call.levels(), [0_i16; 0]);
}

#[tokio::test]
async fn what_is_no_audio_is_refused_and_what_follows_is_heard() {
    let mut call = Call::new(&options());
    call.play(Audio::Encoded { kind: AudioKind::Mp3, bytes: b"no mp3 at all".to_vec() });
    call.play(pcm(3_000, 800));
    call.decode().await;
    call.listen(10);
    assert_eq!(call.levels(), [3_000]);
    let refusals = call.refusals();
    assert!(refusals.len() == 1 && refusals[0].starts_with("mp3 audio is not played: "), "{refusals:?}");
}

#[tokio::test]
async fn what_waits_for_a_file_is_bounded_and_every_mark_is_answered() {
    let mut call = Call::new(&StreamOptions { inject_buffer_ms: 30_000, ..options() });
    call.play(wav_message(2_000));
    for number in 0..MOST_WAITING as u64 + 3 {
        call.playback.mark(MarkId(number));
    }
    call.listen(1);
    assert_eq!(call.marks().len(), 3, "those that were too many");
    assert_eq!(call.refusals().len(), 3);
    call.decode().await;
    call.listen(20);
    assert_eq!(call.marks().len(), MOST_WAITING + 3);
    call.play(wav_message(2_000));
    for _ in 0..4 {
        call.play(pcm(1_000, 2 << 20));
    }
    call.listen(1);
    assert_eq!(call.refusals().len(), 3 + 2, "of 16 MiB, 8 may wait: {:?}", call.refusals());
}

#[tokio::test]
async fn only_files_below_the_folder_are_played() {
    let root = std::env::temp_dir().join(format!("mas-files-{}", std::process::id()));
    let folder = root.join("prompts");
    std::fs::create_dir_all(folder.join("deep")).unwrap();
    std::fs::write(root.join("outside.wav"), wav(1_000, 800)).unwrap();
    std::fs::write(folder.join("deep/inside.wav"), wav(2_000, 800)).unwrap();
    let _ = std::fs::remove_file(folder.join("link.wav"));
    std::os::unix::fs::symlink(root.join("outside.wav"), folder.join("link.wav")).unwrap();
    let options = StreamOptions { allow_file_injection: true, file_injection_dir: Some(folder.clone()), ..options() };
    let mut call = Call::new(&options);
    let outside = root.join("outside.wav");
    for path in ["../outside.wav", "link.wav", outside.to_str().unwrap(), "deep", "nothing.wav", "a\0b"] {
        call.play(Audio::File { path: path.to_owned(), kind: AudioKind::Wav });
        call.decode().await;
        call.listen(1);
    }
    let refusals = call.refusals();
    assert_eq!(refusals.len(), 6, "{refusals:?}");
    assert!(refusals.iter().all(|why| why.starts_with("a file is not played: ")), "{refusals:?}");
    call.play(Audio::File { path: "deep/inside.wav".to_owned(), kind: AudioKind::Wav });
    call.decode().await;
    call.listen(10);
    assert_eq!(call.levels(), [2_000]);
    // Without a folder there is no file to play.
    let mut call = Call::new(&StreamOptions { file_injection_dir: None, ..options });
    call.play(Audio::File { path: "deep/inside.wav".to_owned(), kind: AudioKind::Wav });
    call.listen(10);
    assert_eq!((call.levels(), call.refusals().len()), (vec![], 1));
    std::fs::remove_dir_all(root).unwrap();
}

#[tokio::test]
async fn without_playback_nothing_is_heard_and_marks_come_at_once() {
    let mut call = Call::new(&StreamOptions { playback: false, ..options() });
    call.play(pcm(1_000, 800));
    call.play(wav_message(2_000));
    call.playback.mark(MarkId(1));
    call.listen(5);
    assert_eq!((call.levels(), call.marks()), (vec![], vec![(1, true)]));
}

/// Audio of `ms` at 8 kHz.
fn lasting(ms: u32) -> Audio {
    Audio::Pcm { samples: vec![1_000; ms as usize * 8], format: MONO_8K }
}

#[test]
fn a_full_queue_has_no_room_until_it_was_heard_or_cleared() {
    let options = StreamOptions { inject_buffer_ms: 500, ..StreamOptions::default() };
    let mut call = Call::new(&options);
    // Beyond the bound a MiB is read ahead: 65.5 s.
    let mut received_ms = 0;
    while call.playback.has_room() {
        call.play(lasting(1_000));
        received_ms += 1_000;
    }
    assert!((66_000..=68_000).contains(&received_ms), "{received_ms} ms");
    call.listen(3_000 / 20);
    assert!(call.playback.has_room() && call.playback.is_full());
    // One message longer than all there is room for is received whole.
    call.play(lasting(200_000));
    assert!(!call.playback.has_room());
    assert_eq!(call.playback.status().overflow_count, 0);
    call.playback.clear(call.now);
    assert!(call.playback.has_room() && !call.playback.is_full());
}

#[test]
fn where_audio_is_dropped_there_is_always_room() {
    let options = StreamOptions { inject_buffer_ms: 500, inject_full: WhenFull::Drop, ..StreamOptions::default() };
    let mut call = Call::new(&options);
    for _ in 0..100 {
        call.play(lasting(1_000));
        assert!(call.playback.has_room() && !call.playback.is_full());
    }
    assert!(call.playback.status().inuse_bytes <= 500 * 16);
    call.listen(1);
    let told = call.happened.iter().any(|happened| {
        matches!(happened, PlaybackUpdate::Overflowed(PlayOutcome { alarm: Some(_), dropped_ms, .. }) if *dropped_ms > 300)
    });
    assert!(told, "the first loss is reported: {:?}", call.happened);
}

#[tokio::test]
async fn while_a_file_is_decoded_little_is_received() {
    let mut call = Call::new(&StreamOptions::default());
    let wav = Audio::Encoded { kind: AudioKind::Wav, bytes: b"RIFF".to_vec() };
    call.play(wav);
    for received in 0.. {
        if !call.playback.has_room() {
            assert!((100..=MOST_WAITING).contains(&received), "{received} messages");
            break;
        }
        call.play(lasting(20));
    }
    call.decode().await;
    assert!(call.playback.has_room());
    call.listen(1);
    let refused = call.happened.iter().filter(|happened| matches!(happened, PlaybackUpdate::Refused(_))).count();
    assert_eq!(refused, 1, "the file, none of what waited for it");
}

#[test]
fn an_announcement_is_heard_in_one_piece_and_marks_keep_place() {
    let mut call = Call::new(&options());
    call.play(pcm(1_000, 800));
    call.playback.announce(call.now, &[2_000; 400], SampleRate::HZ_8000);
    call.play(pcm(3_000, 800));
    call.playback.mark(MarkId(1));
    call.playback.announce(call.now, &[2_000; 400], SampleRate::HZ_8000);
    call.listen(11);
    assert_eq!((call.levels(), call.marks()), (vec![1_000, 2_000], vec![]), "what the server sends waits for its end");
    assert!(!call.playback.is_idle() && !call.playback.is_silent());
    call.playback.announced(call.now);
    call.play(pcm(4_000, 800));
    call.listen(30);
    assert_eq!((call.levels(), call.marks()), (vec![1_000, 2_000, 3_000, 4_000], vec![(1, true)]));
    assert!(call.playback.is_idle());
    assert!(call.refusals().is_empty());
}

#[test]
fn a_clear_ends_an_announcement_and_what_follows_is_heard() {
    let mut call = Call::new(&options());
    call.playback.announce(call.now, &[2_000; 8_000], SampleRate::HZ_8000);
    call.play(pcm(3_000, 800));
    call.playback.mark(MarkId(1));
    call.playback.clear(call.now);
    call.play(pcm(4_000, 800));
    call.listen(20);
    assert_eq!((call.levels(), call.marks()), (vec![4_000], vec![(1, false)]));
}

#[tokio::test]
async fn an_announcement_waits_for_a_file_and_for_room() {
    let options = StreamOptions { inject_buffer_ms: 500, ..StreamOptions::default() };
    let mut call = Call::new(&options);
    call.play(wav_message(1_000));
    assert!(!call.playback.takes_announcement());
    call.decode().await;
    while call.playback.takes_announcement() {
        call.playback.announce(call.now, &[2_000; 8_000], SampleRate::HZ_8000);
    }
    // What waits behind it takes no room from it.
    while call.playback.has_room() {
        call.play(lasting(1_000));
    }
    call.listen(3_000 / 20);
    assert!(call.playback.takes_announcement());
    assert!(call.refusals().is_empty());
}

#[test]
fn without_playback_an_announcement_holds_nothing_up() {
    let mut call = Call::new(&StreamOptions { playback: false, ..options() });
    call.playback.announce(call.now, &[2_000; 400], SampleRate::HZ_8000);
    assert!(call.playback.is_idle());
}
