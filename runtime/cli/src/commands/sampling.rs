//! Sampling defaults with the flags of a command line over them.
//!
//! In: an image's defaults, flags. Out: the defaults of this run. Invariant: a flag that was given counts, for answers
//! with thinking and without, and its origin says so.

use qwenc_abi::metadata::SamplingDefaults;

use crate::cli::SamplingArgs;

/// Origin of a value that a flag gave.
const FLAG: &str = "flag";

/// The defaults of this run.
pub fn defaults(of_image: SamplingDefaults, flags: &SamplingArgs) -> SamplingDefaults {
    let mut all = of_image;
    let mut given: Vec<&str> = Vec::new();
    let mut set = |name: &'static str, value: Option<f32>, place: &mut f32| {
        if let Some(value) = value {
            *place = value;
            given.push(name);
        }
    };
    set("temperature", flags.temperature, &mut all.temperature);
    set("top_p", flags.top_p, &mut all.top_p);
    set("min_p", flags.min_p, &mut all.min_p);
    set("repetition_penalty", flags.repetition_penalty, &mut all.repetition_penalty);
    set("presence_penalty", flags.presence_penalty, &mut all.presence_penalty);
    set("frequency_penalty", flags.frequency_penalty, &mut all.frequency_penalty);
    if let Some(other) = &mut all.without_thinking {
        other.temperature = flags.temperature.unwrap_or(other.temperature);
        other.top_p = flags.top_p.unwrap_or(other.top_p);
    }
    if let Some(top_k) = flags.top_k {
        all.top_k = top_k;
        given.push("top_k");
    }
    if !flags.stop.is_empty() {
        all.stop.clone_from(&flags.stop);
        given.push("stop");
    }
    if flags.max_tokens.is_some() {
        all.max_tokens = flags.max_tokens;
        given.push("max_tokens");
    }
    all.origins.extend(given.into_iter().map(|name| (name.to_owned(), FLAG.to_owned())));
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use qwenc_abi::metadata::WithoutThinking;
    use qwenc_engine::image::sampling::filters;

    #[test]
    fn flags_count_whether_or_not_an_answer_thinks() {
        let of_image = SamplingDefaults {
            temperature: 0.6,
            top_k: 20,
            repetition_penalty: 1.05,
            stop: vec!["a".into()],
            without_thinking: Some(WithoutThinking { temperature: 0.7, top_p: 0.8 }),
            ..SamplingDefaults::default()
        };
        let none = SamplingArgs::default();
        assert_eq!(defaults(of_image.clone(), &none), of_image);
        let flags = SamplingArgs {
            temperature: Some(0.1),
            top_k: Some(0),
            frequency_penalty: Some(0.5),
            stop: vec!["b".into(), "c".into()],
            max_tokens: Some(3),
            ..none
        };
        let all = defaults(of_image, &flags);
        assert_eq!((filters(&all, true).temperature, filters(&all, false).temperature), (0.1, 0.1));
        assert_eq!((filters(&all, true).top_p, filters(&all, false).top_p), (1.0, 0.8));
        assert_eq!((all.top_k, all.repetition_penalty, all.frequency_penalty), (0, 1.05, 0.5));
        assert_eq!((all.stop.len(), all.max_tokens), (2, Some(3)));
        let flagged: Vec<&str> = all.origins.keys().map(String::as_str).collect();
        assert_eq!(flagged, ["frequency_penalty", "max_tokens", "stop", "temperature", "top_k"]);
    }
}
