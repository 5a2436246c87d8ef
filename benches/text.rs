//! What a thousand characters of a model's text cost a worker until they are sentences, in pieces of four characters as
//! models send them. One thread, warm caches. `cargo bench --bench text`.
#![allow(missing_docs)]

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use mod_audio_stream::conversation::agent::{SentenceRules, SentenceSplitter};

const PLAIN: &str = "Good morning, and thank you for calling. Your order of twelve red chairs was shipped on Monday, Jan. 5, \
                     at 9 a.m. Eastern Time. It will arrive at 12 Oak Street, Apt. 5B, in two days. Is there anything else? ";
const MARKED: &str = "**Note:** The *office* opens at 9 a.m. daily. See [our site](https://x.io/a_b) for more. 😊\n\
                      - Press # to finish\n- Press `*` to go back\n## Opening hours\nDer Termin ist am 3. Juli um 14 Uhr. ";
const WIDE: &str = "我们的价格大约是每公斤３．５元，谢谢您的来电。「今日はとても良い天気ですね。」そうですね、本当に。";

/// A thousand characters, in pieces of four.
fn pieces(text: &str) -> Vec<String> {
    let chars: Vec<char> = text.chars().cycle().take(1_000).collect();
    chars.chunks(4).map(|piece| piece.iter().collect()).collect()
}

fn text(c: &mut Criterion) {
    for (name, text) in [("plain", PLAIN), ("marked", MARKED), ("wide", WIDE)] {
        let pieces = pieces(text);
        for clean in [false, true] {
            let rules = SentenceRules { clean, ..SentenceRules::default() };
            let how = if clean { "cleaned" } else { "as it is" };
            c.bench_function(&format!("1000 characters {name}, {how}"), |b| {
                b.iter(|| {
                    let mut splitter = SentenceSplitter::new(rules.clone());
                    let mut sentences = 0;
                    for piece in &pieces {
                        splitter.push(black_box(piece), |sentence| sentences += black_box(sentence).len());
                    }
                    splitter.finish(|sentence| sentences += black_box(sentence).len());
                    sentences
                });
            });
        }
    }
}

criterion_group!(benches, text);
criterion_main!(benches);
