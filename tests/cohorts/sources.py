"""Small files in exactly the forms that the public sources have, and the damage that happens to such files."""

import gzip
import io
import zipfile
from collections.abc import Callable

import numpy as np
import pandas as pd


def tsv(frame: pd.DataFrame, **how) -> bytes:
    return frame.to_csv(sep="\t", **how).encode()


def zipped(name: str, content: bytes, **more: bytes) -> bytes:
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for file, inside in {name: content, **more}.items():
            archive.writestr(file, inside)
    return target.getvalue()


def npz(x: np.ndarray, y: np.ndarray) -> bytes:
    target = io.BytesIO()
    np.savez_compressed(target, x=x, y=y)
    return target.getvalue()


# ArrayExpress E-MTAB-3732: 40 arrays of which 12 cannot be used.
LABELS = [
    *[("normal", "lung", "")] * 4, *[("lung adenocarcinoma", "lung", "")] * 8, *[("lung adenocarcinoma", "lung", "A549")] * 2,
    *[("normal", "mammary gland", "not applicable")] * 4, *[("breast carcinoma", "breast", "  ")] * 8,
    *[("Invasive_Ductal  Carcinoma", "Breast", "MCF7")] * 2,
    ("-", "lung", ""), ("", "lung", ""), ("  ", "breast", ""), ("asthma", "lung", ""), ("asthma", "lung", ""),
    ("uterine leiomyoma", "uterus", ""), ("normal", "-", ""), ("normal", "unheard-of organ", ""),
    ("melanoma", "skin", ""), ("melanoma", "skin", ""), ("normal", "skin", ""), ("sarcoma", "", ""),
]  # fmt: skip
ARRAYS = [f"Sample {i}" for i in range(1, len(LABELS) + 1)]
PROBES = ["1007_s_at", "1053_at", "117_at", "121_at", "1255_g_at"]
INTENSITIES = pd.DataFrame(
    np.random.default_rng(1).normal(8, 2, (len(PROBES), len(ARRAYS))).round(6), index=PROBES, columns=ARRAYS
)
ANNOTATION = (
    b"^Annotation\n!Annotation_platform = GPL570\n#ID = ID\n!platform_table_begin\nID\tGene title\tGene symbol\tGene ID\n"
    b"1007_s_at\tdiscoidin\tDDR1///MIR4640\t780\n1053_at\treplication factor\tRFC2\t5982\n117_at\theat shock\tHSPA6\t3310\n"
    b"121_at\tpaired box\tPAX8\t7849\n1255_g_at\t\t\t\n!platform_table_end\n"
)


def sdrf() -> pd.DataFrame:
    return pd.DataFrame(
        {
            "Source Name": ARRAYS,
            "Comment[ENA_SAMPLE]": "ERS1",
            "Characteristics[organism]": "Homo sapiens",
            "Characteristics[cell line]": [line for _, _, line in LABELS],
            "Characteristics[individual]": [f"p{i // 2}" for i in range(len(LABELS))],
            "Characteristics[age]": "-",
            "Characteristics[organism part]": [part for _, part, _ in LABELS],
            "Characteristics[disease]": [disease for disease, _, _ in LABELS],
            "Comment[original file]": [f"GSE{100 + i // 8}_{name}.CEL" for i, name in enumerate(ARRAYS)],
        }
    )


def matrix(frame: pd.DataFrame = INTENSITIES, header: str = "CompositeSequence Identifier") -> bytes:
    return tsv(frame, index_label=header)


MEMBER = "processedMatrix.Aurora.july2015.txt"


def microarray(sdrf_text: bytes | None = None, matrix_text: bytes | None = None) -> dict[str, bytes]:
    return {
        "E-MTAB-3732.sdrf.txt": tsv(sdrf(), index=False) if sdrf_text is None else sdrf_text,
        "E-MTAB-3732.processed.1.zip": zipped(MEMBER, matrix() if matrix_text is None else matrix_text),
        "GPL570.annot.gz": gzip.compress(ANNOTATION),
    }


# Deep GONet: samples x columns, cancer 1.
DEEP = np.random.default_rng(2).normal(0, 1, (9, 7)).astype(np.float32)
DEEP_Y = np.array([1, 1, 0, 1, 0, 1, 1, 0, 1])


def deep_gonet() -> dict[str, bytes]:
    return {"X_train.npz": npz(DEEP[:6], DEEP_Y[:6]), "X_test.npz": npz(DEEP[6:], DEEP_Y[6:])}


# UCSC Xena: genes with version x barcodes.
ENSEMBL = [
    "ENSG00000000003.15",
    "ENSG00000000005.6",
    "ENSG00000002586.20",
    "ENSG00000002586.20_PAR_Y",
    "ENSG00000141510.18",
]
SYMBOLS = ["TSPAN6", "TNMD", "CD99", "CD99", "TP53"]
BRCA = [f"TCGA-A7-A0C{i}-{kind}" for i in range(5) for kind in ("01A", "11A")] + [
    "TCGA-A7-A0C0-06A",
    "TCGA-A7-A0C9-20A",
]
LUAD = [f"TCGA-44-26{i:02}-{kind}" for i in range(6) for kind in ("01A", "11B")]


def tpm(barcodes: list[str], seed: int) -> pd.DataFrame:
    values = np.random.default_rng(seed).exponential(3, (len(ENSEMBL), len(barcodes))).round(5)
    return pd.DataFrame(values, index=ENSEMBL, columns=barcodes)


def probemap() -> bytes:
    genes = pd.DataFrame(
        {"id": ENSEMBL, "gene": SYMBOLS, "chrom": "chrX", "chromStart": 1, "chromEnd": 2, "strand": "+"}
    )
    return tsv(genes, index=False)


def gdc(brca: bytes | None = None) -> dict[str, bytes]:
    text = tsv(tpm(BRCA, 3), index_label="Ensembl_ID") if brca is None else brca
    return {
        "TCGA-BRCA.star_tpm.tsv.gz": gzip.compress(text),
        "TCGA-LUAD.star_tpm.tsv.gz": gzip.compress(tsv(tpm(LUAD, 4), index_label="Ensembl_ID")),
        "gencode.v36.annotation.gtf.gene.probemap": probemap(),
    }


def toil() -> dict[str, bytes]:
    samples = [barcode[:15] for barcode in BRCA + LUAD] + ["TCGA-AB-2802-03"]
    disease = (
        ["breast invasive carcinoma"] * len(BRCA) + ["lung adenocarcinoma"] * len(LUAD) + ["acute myeloid leukemia"]
    )
    values = np.log2(2 ** tpm(samples, 5) - 1 + 0.001).round(5)
    phenotype = pd.DataFrame({"sample": samples, "sample_type_id": 1, "sample_type": "x", "_primary_disease": disease})
    return {
        "tcga_RSEM_gene_tpm.gz": gzip.compress(tsv(values, index_label="sample")),
        "TCGA_phenotype_denseDataOnlyDownload.tsv.gz": gzip.compress(tsv(phenotype, index=False)),
        "gencode.v23.annotation.gene.probemap": probemap(),
    }


# GEO: a series matrix; five samples of which one has no status.
SERIES = (
    b'!Series_title\t"Lung tumours and normal lung"\n!Series_geo_accession\t"GSE4321"\n\n'
    b'!Sample_title\t"t1"\t"t2"\t"t3"\t"n1"\t"n2"\n!Sample_geo_accession\t"GSM1"\t"GSM2"\t"GSM3"\t"GSM4"\t"GSM5"\n'
    b'!Sample_source_name_ch1\t"lung"\t"lung"\t"lung"\t"lung"\t"lung"\n'
    b'!Sample_characteristics_ch1\t"disease: adenocarcinoma"\t"disease: adenocarcinoma"\t"sex: F"\t"disease: none"\t"disease: none"\n'
    b'!Sample_characteristics_ch1\t"sex: F"\t"sex: M"\t"disease: unclear"\t"sex: F"\t""\n'
    b'!Sample_platform_id\t"GPL570"\t"GPL570"\t"GPL570"\t"GPL570"\t"GPL570"\n!series_matrix_table_begin\n'
    b'"ID_REF"\t"GSM1"\t"GSM2"\t"GSM3"\t"GSM4"\t"GSM5"\n"1007_s_at"\t7.1\t7.2\t7.3\t7.4\t7.5\n'
    b'"1053_at"\t5.1\t5.2\tnull\t5.4\t5.5\n"117_at"\t3\t3.5\t3.25\t3\t3\n"121_at"\t9.1\t9.2\t9.3\t9.4\t9.5\n'
    b"!series_matrix_table_end\n"
)


def geo(series: bytes = SERIES) -> dict[str, bytes]:
    return {"GSE4321_series_matrix.txt.gz": gzip.compress(series)}


Change = Callable[[bytes], bytes]
