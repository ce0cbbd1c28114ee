"""The quantisations of GGUF files, told by their names."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gemmalock.quantisations import is_quantisation, quantisation_of


@pytest.mark.parametrize(
    ("name", "quant"),
    [
        ("gemma-3-270m-it-Q4_K_M.gguf", "Q4_K_M"),
        ("gemma-3-270m-q4_k_m.gguf", "Q4_K_M"),
        ("Kunocchini-7b.Q4_K_M.gguf", "Q4_K_M"),
        ("model_q4_k_m.gguf", "Q4_K_M"),
        ("Q4_K_M.gguf", "Q4_K_M"),
        ("Llama.i1-IQ4_XS.gguf", "IQ4_XS"),
        ("Qwen_Qwen3-8B-IQ2_XXS.gguf", "IQ2_XXS"),
        ("DeepSeek-UD-Q4_K_XL.gguf", "UD-Q4_K_XL"),
        ("UD-Q4_K_XL/DeepSeek-UD-Q4_K_XL-00001-of-00009.gguf", "UD-Q4_K_XL"),
        ("Q4_K_M/model-00001-of-00003.gguf", "Q4_K_M"),
        ("quants/Qwen2.5-72B-Q8_0/part-00001-of-00002.gguf", "Q8_0"),
        ("Q4_K_M/model-Q8_0.gguf", "Q8_0"),
        ("Q8_0/inner-Q4_0/model.gguf", "Q4_0"),
        ("phi-3.Q4_K_M.shard-00001-of-00040.gguf", "Q4_K_M"),
        ("gemma-F16.gguf", "F16"),
        ("qwen2.5-7b-instruct-fp16-00001-of-00004.gguf", "FP16"),
        ("gemma-BF16.gguf", "BF16"),
        ("gemma-f32.gguf", "F32"),
        ("gpt-oss-20b-mxfp4.gguf", "MXFP4"),
        ("gpt-oss-20b-MXFP4_MOE.gguf", "MXFP4_MOE"),
        ("bitnet-TQ1_0.gguf", "TQ1_0"),
        ("llama-Q4_0_4_4.gguf", "Q4_0_4_4"),
        ("llama-IQ4_K_R4.gguf", "IQ4_K_R4"),
        ("Phi-3-mini-4k-instruct-q4.gguf", "Q4"),
        ("x-F16-merged-Q5_1.gguf", "Q5_1"),
        ("x-Q6_K-imat.gguf", "Q6_K"),
        ("X-Q8_0.GGUF", "Q8_0"),
        ("Mixtral-8x7B-v0.1-KQ2.gguf", None),
        ("modelQ4_K_M.gguf", None),
        ("model-Q4_K_MX2345.gguf", None),
        ("model-Q0_1.gguf", None),
        ("model.gguf", None),
        (".gguf", None),
        ("model-Q4_K_M.safetensors", None),
        ("model-Q4_K_M.gguf.md", None),
        ("mmproj-F16.gguf", None),
        ("mmproj-model-f16.gguf", None),
        ("gemma-3-4b-it.mmproj-Q8_0.gguf", None),
        ("BF16/mmproj-BF16.gguf", None),
        ("imatrix-Q8_0.gguf", None),
        ("gemma_imatrix.Q8_0.gguf", None),
        ("model-F16-LoRA.gguf", None),
        ("ggml-Q8_0-vocab.gguf", None),
        ("my-lora-merged-Q4_0.gguf", "Q4_0"),
    ],
)
def test_the_quantisation_of_a_gguf_is_a_whole_word_of_its_name(name: str, quant: str | None) -> None:
    assert quantisation_of(name) == quant


@pytest.mark.parametrize("quant", ["Q4_K_M", "q4_k_m", "IQ4_XS", "UD-IQ1_S", "TQ2_0", "F16", "BF16", "MXFP4", "NVFP4"])
def test_quantisations_are_written_as_in_names(quant: str) -> None:
    assert is_quantisation(quant)
    assert quantisation_of(f"gemma-{quant}.gguf") == quant.upper()


@pytest.mark.parametrize(
    "text", ["", "4bit", "int4", "Q4 K M", "Q4-K-M", "*Q4*", "Q4_K_M.gguf", "Q", "Q10", "Q4_", "AWQ"]
)
def test_other_texts_are_no_quantisations(text: str) -> None:
    assert not is_quantisation(text)


@given(st.text(max_size=80))
def test_any_name_can_be_judged(name: str) -> None:
    quant = quantisation_of(name + ".gguf")
    assert quant is None or is_quantisation(quant)
