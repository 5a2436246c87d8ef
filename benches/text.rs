//! What a thousand characters of a model's text cost a worker until they are sentences, in pieces of four characters as
//! models send them. One thread, warm caches. `cargo bench --bench text`.
#![allow(missing_docs)]

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use mod_audio_stream::conversation::agent::{SentenceRules, SentenceSplitter};

const PLAIN: &str = "Good morning, and thank you for calling. Your order of twelve red chairs was shipped on Monday, Jan. 5, \
                     at 9 a.m. Eastern Time. It will arrive at 12 Oak Street, Apt. 5B, in two days. Is there anything else? ";
const ENGLISH: &str = "**Note:** The *office* opens at 9 a.m. daily. See [our site](https://x.io/a_b) for more. 😊\n\
                       - Press # to finish\n- Press `*` to go back\n## Opening hours\nCome on Tuesday at 3 p.m. Eastern Time. ";
const GERMAN: &str = "**Hinweis:** Das *Büro* öffnet täglich um 9 Uhr. Mehr auf [unserer Seite](https://x.io/a_b). 😊\n\
                      - Drücken Sie die #\n- Drücken Sie `*`\n## Öffnungszeiten\nDer Termin ist am 3. Juli in der Hauptstr. 5. ";
const CHINESE: &str = "**注意：**我们的*办公室*每天九点开门。详情请看[我们的网站](https://x.io/a_b)。😊\n\
                       - 结束请按#\n- 返回请按`*`\n## 营业时间\n价格大约是每公斤３．５元，谢谢您的来电。再见！";

/// A thousand characters, in pieces of four.
fn pieces(text: &str) -> Vec<String> {
    let chars: Vec<char> = text.chars().cycle().take(1_000).collect();
    chars.chunks(4).map(|piece| piece.iter().collect()).collect()
}

fn text(c: &mut Criterion) {
    for (name, text) in [("plain", PLAIN), ("English", ENGLISH), ("German", GERMAN), ("Chinese", CHINESE)] {
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
