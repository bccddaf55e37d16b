/* cubin.c -- what a cubin says about its kernel: registers, stack, shared memory, instructions */
#include "cubin.h"

#include <elf.h>
#include <stdio.h>
#include <string.h>

#include "error.h"

enum {
    MACHINE_CUDA = 190,
    ABI_CUDA_13 = 8, /* moved the arch from bits 0-7 of the flags to 8-15 */
    MAX_SECTIONS = 4096,
    INSTRUCTION_BYTES = 16,
    FORMAT_SIZED = 4,
    /* attributes of .nv.info */
    ATTRIBUTE_MAX_THREADS = 0x05,
    ATTRIBUTE_FRAME_SIZE = 0x11,
    ATTRIBUTE_PARAM = 0x17, /* {u32, u16 ordinal, u16 offset, u32 with the size from bit 18 on} */
    PARAM_SIZE_SHIFT = 18,
    ATTRIBUTE_REGCOUNT = 0x2f,
};

struct reader {
    const uint8_t *bytes;
    size_t count;
    Elf64_Ehdr header;
    Elf64_Shdr names; /* the section with the names of sections */
};

struct span {
    const uint8_t *at;
    size_t bytes;
};

static qrt_status damaged(const char *what, unsigned long long value)
{
    return error_set(QRT_E_FORMAT, "cubin: %s %llu is out of range", what, value);
}

static int inside(const struct reader *r, uint64_t offset, uint64_t bytes)
{
    return offset <= r->count && bytes <= r->count - offset;
}

static qrt_status read_section(const struct reader *r, unsigned index, Elf64_Shdr *out)
{
    if (index >= r->header.e_shnum) return damaged("section", index);
    memcpy(out, r->bytes + r->header.e_shoff + index * sizeof *out, sizeof *out);
    if (out->sh_type != SHT_NOBITS && !inside(r, out->sh_offset, out->sh_size))
        return damaged("end of section", index);
    return QRT_OK;
}

static qrt_status open_elf(struct reader *r)
{
    if (r->count < sizeof r->header)
        return error_set(QRT_E_FORMAT, "cubin: %zu bytes are no ELF file", r->count);
    memcpy(&r->header, r->bytes, sizeof r->header);
    const Elf64_Ehdr *h = &r->header;
    if (memcmp(h->e_ident, ELFMAG, SELFMAG) != 0 || h->e_ident[EI_CLASS] != ELFCLASS64 ||
        h->e_machine != MACHINE_CUDA || h->e_shentsize != sizeof(Elf64_Shdr))
        return error_set(QRT_E_FORMAT, "cubin: not a 64-bit ELF file for CUDA");
    if (h->e_shnum > MAX_SECTIONS ||
        !inside(r, h->e_shoff, (uint64_t)h->e_shnum * sizeof(Elf64_Shdr)))
        return damaged("number of sections", h->e_shnum);
    return read_section(r, h->e_shstrndx, &r->names);
}

/* The string at an offset of a string section; "" when it has no end. */
static const char *string_at(const struct reader *r, const Elf64_Shdr *section, uint64_t offset)
{
    if (section->sh_type != SHT_STRTAB || offset >= section->sh_size) return "";
    const uint8_t *text = r->bytes + section->sh_offset + offset;
    return memchr(text, 0, section->sh_size - offset) ? (const char *)text : "";
}

/* The section `prefix` + `symbol`; found = 0 when there is none. */
static qrt_status find_section(const struct reader *r, const char *prefix, const char *symbol,
                               Elf64_Shdr *out, int *found)
{
    const size_t length = strlen(prefix);
    *found = 0;
    for (unsigned i = 0; i < r->header.e_shnum && !*found; i++) {
        TRY(read_section(r, i, out));
        const char *name = string_at(r, &r->names, out->sh_name);
        *found = strncmp(name, prefix, length) == 0 && strcmp(name + length, symbol) == 0;
    }
    return QRT_OK;
}

static uint32_t word_at(const uint8_t *at)
{
    uint32_t word;
    memcpy(&word, at, sizeof word);
    return word;
}

/* Call `take` for every attribute with its payload (or its 2-byte value). */
static qrt_status each_attribute(struct span info,
                                 void (*take)(void *user, int attribute, struct span payload),
                                 void *user)
{
    for (size_t at = 0; at < info.bytes;) {
        if (info.bytes - at < 4) return damaged("attribute at", at);
        const int format = info.at[at], attribute = info.at[at + 1];
        size_t size = (size_t)(info.at[at + 2] | info.at[at + 3] << 8);
        struct span payload = {info.at + at + 2, 2};
        if (format == FORMAT_SIZED) {
            if (size > info.bytes - at - 4) return damaged("size of attribute at", at);
            payload = (struct span){info.at + at + 4, size};
        } else {
            size = 0;
        }
        take(user, attribute, payload);
        at += 4 + size;
    }
    return QRT_OK;
}

struct common {
    struct cubin *out;
    uint32_t symbol; /* index of the kernel */
};

/* Attributes {symbol, value} of .nv.info.  A function that was not inlined has a frame of its own:
 * the largest counts. */
static void take_common(void *user, int attribute, struct span payload)
{
    const struct common *c = user;
    if (payload.bytes < 8) return;
    const uint32_t symbol = word_at(payload.at), value = word_at(payload.at + 4);
    if (attribute == ATTRIBUTE_REGCOUNT && symbol == c->symbol) c->out->regs = value;
    if (attribute == ATTRIBUTE_FRAME_SIZE && value > c->out->stack_bytes)
        c->out->stack_bytes = value;
}

/* Attributes of .nv.info.KERNEL */
static void take_own(void *user, int attribute, struct span payload)
{
    struct cubin *out = user;
    if (attribute == ATTRIBUTE_PARAM && payload.bytes >= 12) {
        const uint32_t ordinal = word_at(payload.at + 4) & 0xffff;
        if (ordinal < CUBIN_PARAMS)
            out->param_bytes[ordinal] = word_at(payload.at + 8) >> PARAM_SIZE_SHIFT;
    }
    if (attribute == ATTRIBUTE_MAX_THREADS && payload.bytes >= 12)
        out->max_threads = word_at(payload.at) * word_at(payload.at + 4) * word_at(payload.at + 8);
}

static qrt_status find_symbol(const struct reader *r, const char *symbol, uint32_t *out)
{
    Elf64_Shdr table, names;
    int found;
    TRY(find_section(r, ".symtab", "", &table, &found));
    if (!found || table.sh_type != SHT_SYMTAB) return error_set(QRT_E_FORMAT, "cubin: no symbols");
    TRY(read_section(r, table.sh_link, &names));
    for (uint64_t i = 0; i < table.sh_size / sizeof(Elf64_Sym); i++) {
        Elf64_Sym s;
        memcpy(&s, r->bytes + table.sh_offset + i * sizeof s, sizeof s);
        if (strcmp(string_at(r, &names, s.st_name), symbol) != 0) continue;
        *out = (uint32_t)i;
        return QRT_OK;
    }
    return error_set(QRT_E_FORMAT, "cubin: no symbol '%s'", symbol);
}

static qrt_status read_info(const struct reader *r, const char *symbol, struct cubin *out)
{
    struct common common = {.out = out};
    Elf64_Shdr section;
    int found;
    TRY(find_symbol(r, symbol, &common.symbol));
    TRY(find_section(r, ".nv.info", "", &section, &found));
    if (!found || section.sh_type == SHT_NOBITS)
        return error_set(QRT_E_FORMAT, "cubin: no .nv.info");
    TRY(each_attribute((struct span){r->bytes + section.sh_offset, section.sh_size}, take_common,
                       &common));
    TRY(find_section(r, ".nv.info.", symbol, &section, &found));
    if (!found || section.sh_type == SHT_NOBITS)
        return error_set(QRT_E_FORMAT, "cubin: no .nv.info.%s", symbol);
    return each_attribute((struct span){r->bytes + section.sh_offset, section.sh_size}, take_own,
                          out);
}

static qrt_status read_code(const struct reader *r, const char *symbol, struct cubin *out)
{
    Elf64_Shdr section;
    int found;
    TRY(find_section(r, ".text.", symbol, &section, &found));
    if (!found || section.sh_type == SHT_NOBITS)
        return error_set(QRT_E_FORMAT, "cubin: no kernel '%s'", symbol);
    out->instructions = (uint32_t)(section.sh_size / INSTRUCTION_BYTES);
    for (uint32_t i = 0; i < out->instructions; i++) {
        const uint8_t *code = r->bytes + section.sh_offset + (uint64_t)i * INSTRUCTION_BYTES;
        out->opcode[(code[0] | code[1] << 8) & (CUBIN_OPCODES - 1)]++;
    }
    TRY(find_section(r, ".nv.shared.", symbol, &section, &found));
    if (found) out->smem_bytes = (uint32_t)section.sh_size;
    return QRT_OK;
}

qrt_status cubin_read(const void *bytes, size_t count, const char *symbol, struct cubin *out)
{
    struct reader r = {.bytes = bytes, .count = count};
    TRY(open_elf(&r));
    memset(out, 0, sizeof *out);
    const int shift = r.header.e_ident[EI_ABIVERSION] >= ABI_CUDA_13 ? 8 : 0;
    out->arch = (int)(r.header.e_flags >> shift & 0xff);
    TRY(read_code(&r, symbol, out));
    return read_info(&r, symbol, out);
}
