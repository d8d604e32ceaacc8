"""FLEURS: the same sentences read in 102 languages (Conneau et al., 2022)."""

import csv
from collections.abc import Iterator

from data_contracts.audio_limits import SAMPLE_RATE
from data_contracts.languages import LANGUAGES
from data_contracts.records import Rejected
from tasks.sources.corpus import Corpus, Row, by_language
from tasks.sources.corpus_files import CorpusFiles
from tasks.sources.tables import map_rows, read_table

_NAMES = (
    "af_za", "am_et", "ar_eg", "as_in", "az_az", "be_by", "bg_bg", "bn_in", "bs_ba", "ca_es",
    "cmn_hans_cn", "cs_cz", "cy_gb", "da_dk", "de_de", "el_gr", "en_us", "es_419", "et_ee", "fa_ir",
    "ff_sn", "fi_fi", "fr_fr", "ga_ie", "gl_es", "gu_in", "ha_ng", "he_il", "hi_in", "hr_hr",
    "hu_hu", "hy_am", "id_id", "ig_ng", "is_is", "it_it", "ja_jp", "jv_id", "ka_ge", "kk_kz",
    "km_kh", "kn_in", "ko_kr", "ky_kg", "lb_lu", "lg_ug", "ln_cd", "lo_la", "lt_lt", "lv_lv",
    "mi_nz", "mk_mk", "ml_in", "mn_mn", "mr_in", "ms_my", "mt_mt", "my_mm", "nb_no", "ne_np",
    "nl_nl", "ny_mw", "oc_fr", "om_et", "or_in", "pa_in", "pl_pl", "ps_af", "pt_br", "ro_ro",
    "ru_ru", "sd_in", "sk_sk", "sl_si", "sn_zw", "so_so", "sr_rs", "sv_se", "sw_ke", "ta_in",
    "te_in", "tg_tj", "th_th", "tr_tr", "uk_ua", "ur_pk", "uz_uz", "vi_vn", "wo_sn", "xh_za",
    "yo_ng", "yue_hant_hk", "zu_za",
)  # fmt: skip
"""Those whose language has an ISO 639-1 code, and Cantonese: 93 of 102."""
_COLUMNS = (
    "id", "file_name", "raw_transcription", "transcription", "characters", "num_samples", "gender"
)  # fmt: skip


def language_code(name: str) -> str:
    """The language of one of FLEURS' names: "cmn_hans_cn" is "zh"."""
    return {"cmn": "zh"}.get(first := name.split("_")[0], first)


def _rows(files: CorpusFiles, split: str) -> Iterator[Row | Rejected]:
    name, part = split.split("/")
    language = language_code(name)
    # The published script splits lines at tabs; quotation marks mean nothing.
    lines = read_table(
        files, f"{name}/{part}.tsv", _COLUMNS, header=False, delimiter="\t", quoting=csv.QUOTE_NONE
    )

    def row(line: dict[str, str]) -> Iterator[Row]:
        yield {
            "id": f"{name}/{line['file_name'].rsplit('.', 1)[0]}",
            "audio": files.location(f"{name}/audio/{part}/{line['file_name']}"),
            "targets": {"asr": line["raw_transcription"], "lid": LANGUAGES[language]},
            "language": language,
            "seconds": _seconds(line["num_samples"]),
            # A sentence has one number in all languages.
            "phrase": line["id"],
        }

    return map_rows(lines, row)


def _seconds(num_samples: str) -> float:
    """Of a recording at 16 kHz; what is no number fails the rule of the field, and is rejected."""
    return int(num_samples) / SAMPLE_RATE if num_samples.isdecimal() else -1.0


CORPUS = Corpus(
    name="fleurs",
    title="FLEURS",
    license="CC-BY-4.0",
    homepage="https://huggingface.co/datasets/google/fleurs",
    tasks=("asr", "lid"),
    languages=tuple(dict.fromkeys(map(language_code, _NAMES))),
    splits=by_language(_NAMES, {"train": "train", "dev": "dev", "test": "test"}),
    layout="the folder `data` of the hub's repository: NAME/{train,dev,test}.tsv without a header "
    "(id, file name, raw transcription, transcription, characters, samples, gender) and "
    "NAME/audio/SPLIT/*.wav, which `tar xzf SPLIT.tar.gz` in NAME/audio unpacks",
    rows=_rows,
)
