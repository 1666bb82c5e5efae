//! Layers of real models' shapes, few of them and with a small vocabulary: head counts, widths and ratios that small
//! test models do not have. The interpreter says what is right.

use std::path::PathBuf;

use qwenc_tests::golden::comma;
use qwenc_tests::program::{qwenc, run};
use qwenc_tests::variants::folder;
use safetensors::tensor::{serialize_to_file, Dtype, TensorView};
use serde_json::{json, Value};

use crate::compare::figure;
use crate::formats::compiled;

const ROWS: usize = 96;

/// Shape of a model's layers.
struct Shape {
    family: &'static str,
    hidden: usize,
    intermediate: usize,
    heads: usize,
    kv_heads: usize,
    head_dim: usize,
}

/// Qwen3-1.7B, Qwen2.5-0.5B, Llama-3.2-1B, and Qwen3-0.6B, whose heads are wider than its hidden size.
const SHAPES: [Shape; 4] = [
    Shape { family: "qwen3", hidden: 2048, intermediate: 6144, heads: 16, kv_heads: 8, head_dim: 128 },
    Shape { family: "qwen2", hidden: 896, intermediate: 4864, heads: 14, kv_heads: 2, head_dim: 64 },
    Shape { family: "llama", hidden: 2048, intermediate: 8192, heads: 32, kv_heads: 8, head_dim: 64 },
    Shape { family: "qwen3", hidden: 1024, intermediate: 3072, heads: 16, kv_heads: 8, head_dim: 128 },
];

impl Shape {
    fn config(&self) -> Value {
        let architecture = match self.family {
            "qwen3" => "Qwen3ForCausalLM",
            "qwen2" => "Qwen2ForCausalLM",
            _ => "LlamaForCausalLM",
        };
        let mut config = json!({
            "architectures": [architecture], "model_type": self.family, "hidden_size": self.hidden,
            "intermediate_size": self.intermediate, "num_hidden_layers": 1, "num_attention_heads": self.heads,
            "num_key_value_heads": self.kv_heads, "head_dim": self.head_dim, "vocab_size": ROWS,
            "hidden_act": "silu", "rms_norm_eps": 1e-6, "rope_theta": 500000.0, "tie_word_embeddings": true,
            "max_position_embeddings": 32768, "eos_token_id": 1,
        });
        if self.family == "llama" {
            config["rope_scaling"] = json!({"factor": 32.0, "high_freq_factor": 4.0, "low_freq_factor": 1.0,
                "original_max_position_embeddings": 8192, "rope_type": "llama3"});
        }
        config
    }

    fn tensors(&self) -> Vec<(String, Vec<usize>)> {
        let (d, ff, q, kv) =
            (self.hidden, self.intermediate, self.heads * self.head_dim, self.kv_heads * self.head_dim);
        let mut of_layer = vec![
            ("input_layernorm.weight", vec![d]),
            ("post_attention_layernorm.weight", vec![d]),
            ("self_attn.q_proj.weight", vec![q, d]),
            ("self_attn.k_proj.weight", vec![kv, d]),
            ("self_attn.v_proj.weight", vec![kv, d]),
            ("self_attn.o_proj.weight", vec![d, q]),
            ("mlp.gate_proj.weight", vec![ff, d]),
            ("mlp.up_proj.weight", vec![ff, d]),
            ("mlp.down_proj.weight", vec![d, ff]),
        ];
        match self.family {
            "qwen3" => of_layer.extend([
                ("self_attn.q_norm.weight", vec![self.head_dim]),
                ("self_attn.k_norm.weight", vec![self.head_dim]),
            ]),
            "qwen2" => of_layer.extend([
                ("self_attn.q_proj.bias", vec![q]),
                ("self_attn.k_proj.bias", vec![kv]),
                ("self_attn.v_proj.bias", vec![kv]),
            ]),
            _ => {}
        }
        let layer = of_layer.into_iter().map(|(name, shape)| (format!("model.layers.0.{name}"), shape));
        let rest = [("model.embed_tokens.weight", vec![ROWS, d]), ("model.norm.weight", vec![d])];
        layer.chain(rest.map(|(name, shape)| (name.to_string(), shape))).collect()
    }

    fn checkpoint(&self) -> PathBuf {
        let folder = folder();
        std::fs::write(folder.join("config.json"), self.config().to_string()).unwrap();
        let values: Vec<_> = self.tensors().into_iter().map(|(n, s)| (noise(&n, &s), n, s)).collect();
        let views =
            values.iter().map(|(b, name, s)| (name, TensorView::new(Dtype::BF16, s.clone(), b).unwrap()));
        serialize_to_file(views, None, &folder.join("model.safetensors")).unwrap();
        folder
    }
}

/// bf16 values within 0.03, gains around 1.
fn noise(name: &str, shape: &[usize]) -> Vec<u8> {
    let mut state = name.bytes().fold(7u64, |s, b| s.wrapping_mul(31).wrapping_add(u64::from(b)));
    let gain = if name.ends_with("norm.weight") { 1.0 } else { 0.0 };
    let value = |_| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let unit = (state >> 40) as f32 / (1u64 << 24) as f32;
        half::bf16::from_f32(gain + (unit - 0.5) * 0.06).to_le_bytes()
    };
    (0..shape.iter().product()).flat_map(value).collect()
}

/// bf16 and int8, against the interpreter on the same weights.
#[test]
fn layers_of_real_shapes_say_what_the_interpreter_says() {
    for shape in &SHAPES {
        let model = shape.checkpoint();
        let tokens = comma(&[5, 90, 3]);
        let what = format!("{} {}", shape.family, shape.hidden);
        let exact = compiled(&model, &["--quant", "bf16"]);
        let args = ["compare", model.to_str().unwrap(), exact.to_str().unwrap(), "--tokens", &tokens];
        let said = run(&mut qwenc(&args)).ok();
        println!("{what} bf16: NMSE {:.1e}", figure(&said, "NMSE"));
        assert!(figure(&said, "NMSE") <= 1e-10, "{what}: {said}");
        let int8 = compiled(&model, &["--quant", "int8"]);
        let args = ["compare", model.to_str().unwrap(), int8.to_str().unwrap(), "--tokens", &tokens];
        let said = run(&mut qwenc(&args)).ok();
        println!("{what} int8: NMSE {:.1e}", figure(&said, "NMSE"));
        assert!(figure(&said, "NMSE") <= 2e-3, "{what}: {said}");
        std::fs::remove_dir_all(&model).unwrap();
        [exact, int8].iter().for_each(|program| std::fs::remove_file(program).unwrap());
    }
}
