use std::collections::VecDeque;

use proptest::prelude::*;

use super::*;

fn read(reader: &mut SampleReader, count: usize) -> Vec<i16> {
    let mut samples = Vec::new();
    reader.read(count, |part| samples.extend_from_slice(part));
    samples
}

#[test]
fn an_ordinary_call_never_touches_the_spare_ring() {
    let (mut writer, mut reader) = sample_ring(RingSize { usual: 400, spare: 5_760 });
    for frame in 0..1_000_i16 {
        assert_eq!(writer.write(&[frame; 160]), 160);
        assert!(!writer.spilled);
        assert_eq!(read(&mut reader, 160), [frame; 160]);
    }
    assert_eq!((writer.free(), reader.held()), (6_160, 0));
}

#[test]
fn a_late_reader_finds_all_and_the_usual_ring_serves_again() {
    let (mut writer, mut reader) = sample_ring(RingSize { usual: 400, spare: 1_000 });
    let said: Vec<i16> = (0..1_400).collect();
    assert_eq!(said.chunks(160).map(|frame| writer.write(frame)).sum::<usize>(), 1_400);
    assert_eq!((writer.free(), writer.write(&[7])), (0, 0), "it is full");
    assert_eq!(read(&mut reader, 500), said[..500]);
    // Room in the usual ring is no use while older samples wait in the spare one.
    assert_eq!(writer.free(), 100);
    assert!(read(&mut reader, 901).is_empty(), "so many are not there");
    reader.skip(100);
    assert_eq!(read(&mut reader, 800), said[600..]);
    assert_eq!(writer.free(), 1_400);
    assert_eq!(writer.write(&[1; 160]), 160);
    assert!(!writer.spilled);
    assert_eq!(read(&mut reader, 160), [1; 160]);
}

#[test]
fn a_ring_for_nothing_takes_nothing() {
    let (mut writer, mut reader) = sample_ring(RingSize::default());
    assert_eq!((writer.free(), writer.write(&[1, 2]), reader.held()), (0, 0, 0));
    assert!(read(&mut reader, 1).is_empty());
}

#[derive(Clone, Debug)]
enum Step {
    Write(usize),
    Read(usize),
    Skip(usize),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        (0..40_usize).prop_map(Step::Write),
        (0..40_usize).prop_map(Step::Read),
        (0..9_usize).prop_map(Step::Skip)
    ];
    proptest::collection::vec(step, 0..200)
}

proptest! {
    #[test]
    fn two_rings_behave_as_one_queue(usual in 0..30_usize, spare in 0..60_usize, steps in steps()) {
        let (mut writer, mut reader) = sample_ring(RingSize { usual, spare });
        let mut model = VecDeque::new();
        let mut next = 0_i16;
        for step in steps {
            match step {
                Step::Write(count) => {
                    let samples: Vec<i16> = (0..count as i16).map(|offset| next.wrapping_add(offset)).collect();
                    let free = writer.free();
                    prop_assert!(free <= usual + spare - model.len());
                    let written = writer.write(&samples);
                    prop_assert_eq!(written, free.min(count));
                    model.extend(&samples[..written]);
                    next = next.wrapping_add(written as i16);
                }
                Step::Read(count) => {
                    let expected: Vec<i16> = if count <= model.len() { model.drain(..count).collect() } else { Vec::new() };
                    prop_assert_eq!(read(&mut reader, count), expected);
                }
                Step::Skip(count) => {
                    reader.skip(count);
                    if count <= model.len() {
                        model.drain(..count);
                    }
                }
            }
            prop_assert_eq!(reader.held(), model.len());
            if model.is_empty() {
                prop_assert_eq!(writer.free(), usual + spare);
            }
        }
    }
}

#[test]
fn two_threads_lose_and_reorder_nothing() {
    const ALL: u32 = 400_000;
    let (mut writer, mut reader) = sample_ring(RingSize { usual: 50, spare: 120 });
    let producer = std::thread::spawn(move || {
        let mut next = 0;
        while next < ALL {
            let samples: Vec<i16> = (next..(next + 1 + next % 37).min(ALL)).map(|sample| sample as i16).collect();
            let written = writer.write(&samples);
            next += written as u32;
            if written == 0 {
                std::thread::yield_now();
            }
        }
    });
    let mut next = 0;
    while next < ALL {
        let count = reader.held().min(1 + next as usize % 91);
        let samples = read(&mut reader, count);
        assert_eq!(samples.len(), count);
        for sample in samples {
            assert_eq!(sample, next as i16);
            next += 1;
        }
        if count == 0 {
            std::thread::yield_now();
        }
    }
    assert!(producer.join().is_ok());
    assert_eq!(reader.held(), 0);
}
