"""Reads a disassembly (objdump -d) on stdin and ends with 1 when it holds an instruction that the
oldest supported processor lacks, outside of functions that ask the processor first.

The boards' floor is ARMv8.0 with CRC32, as Cortex-A53 and Cortex-A72 have it. Their cryptography
extension is absent on Raspberry Pi, so AES and SHA instructions count as well.
"""

import collections
import re
import sys

# Extensions beyond the floor, by mnemonic (Arm Architecture Reference Manual, A2.2 and C6, C7).
BEYOND = {
    "LSE atomics (8.1)": r"(cas|casp|swp|ldadd|ldclr|ldeor|ldset|ldsmax|ldsmin|ldumax|ldumin"
    r"|stadd|stclr|steor|stset|stsmax|stsmin|stumax|stumin)(a|al|l)?(b|h)?",
    "RDM (8.1)": r"sqrdml[as]h",
    "RCPC (8.3)": r"ldapr[bh]?|ldapur\w*|stlur\w*",
    "pointer authentication, not as a hint (8.3)": r"(bra|blra)(a|b)z?|reta[ab]|ldra[ab]|pac[id][ab]z?|aut[id][ab]z?|xpac[id]",
    "JavaScript conversion, complex numbers (8.3)": r"fjcvtzs|fcmla|fcadd",
    "dot product, matrix (8.4, 8.6)": r"[us]dot|usdot|sudot|[us]mmla|usmmla|bfdot|bfmmla|bfmlal[bt]|bfcvt\w*",
    "flag manipulation (8.4)": r"cfinv|setf8|setf16|rmif",
    "AES": r"aes(e|d|mc|imc)",
    "SHA": r"sha(1|256|512)\w+|eor3|rax1|xar|bcax",
    "SM3, SM4": r"sm[34]\w+",
    "SVE": r"ptrue|whilel[oest]|cnt[bhwd]|ld1[bhwd]|st1[bhwd]|incb|incd|incw|inch|rdvl|addvl|setffr|rdffr",
    "MOPS, CSSC (8.8, 8.9)": r"cpy[fmpe]\w*|setp|setm|sete",
}
# 64-bit polynomial multiplication belongs to the cryptography extension; the 8-bit form does not.
PMULL = re.compile(r"pmull2?\s+v\d+\.1q")

# Functions that run only where the processor has what they use.
ASKED_FIRST = [
    (r"__aarch64_(cas|swp|ldadd|ldclr|ldeor|ldset)\w*", "libgcc's outline atomics: __aarch64_have_lse_atomics"),
    (r".*(sha256_block_data_order|sha512_block_data_order|sha1_block_data_order)\w*", "ring, aws-lc: OPENSSL_armcap"),
    (r".*(aes_hw|aes_gcm|aesv8_gcm|gcm_\w+_v8|gcm_\w+_clmul|chacha20_poly1305)\w*", "ring, aws-lc: OPENSSL_armcap"),
    (r".*(sha2|sha1|sha3|sha512|sha256)[^ ]*(aarch64|armv8|compress|digest_blocks|soft|update)[^ ]*", "sha2 crates: cpufeatures"),
    (r".*(aes|ghash|polyval|polymul)[^ ]*(armv8|intrinsics|pmull|neon|autodetect)[^ ]*", "aes crates: cpufeatures"),
    (r".*crc32fast[^ ]*|.*crc_fast[^ ]*|.*crc32c?[^ ]*", "crc crates: is_aarch64_feature_detected"),
    (r".*memchr[^ ]*", "memchr: is_aarch64_feature_detected"),
    (r".*tantivy_bitpacker[^ ]*3sve[^ ]*", "tantivy-bitpacker: is_aarch64_feature_detected"),
]


def main():
    beyond = [(name, re.compile(rf"^(?:{pattern})$")) for name, pattern in BEYOND.items()]
    allowed = [re.compile(rf"^{pattern}$") for pattern, _ in ASKED_FIRST]
    function, skip, instructions = "?", False, 0
    found = collections.defaultdict(collections.Counter)
    for line in sys.stdin:
        if line.endswith(">:\n"):
            function = line[line.index("<") + 1 : -3]
            skip = any(pattern.match(function) for pattern in allowed)
            continue
        parts = line.split("\t", 2)
        if skip or len(parts) < 2:
            continue
        instructions += 1
        mnemonic = parts[1].split(None, 1)[0] if parts[1].strip() else ""
        for name, pattern in beyond:
            if pattern.match(mnemonic):
                found[name][function] += 1
        if mnemonic.startswith("pmull") and PMULL.match("\t".join(parts[1:]).replace("\t", " ")):
            found["PMULL"][function] += 1
    if instructions < 10_000:
        sys.exit(f"only {instructions} instructions were read: this is no program's disassembly")
    for name, functions in found.items():
        for function, count in functions.most_common(8):
            print(f"{name}: {count} in {function}", file=sys.stderr)
    sys.exit(1 if found else 0)


main()
