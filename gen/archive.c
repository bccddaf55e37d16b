/* archive.c -- bytes become a static library: one const table, no code */
#include "archive.h"

#include <ar.h>
#include <ctype.h>
#include <elf.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "error.h"

#if defined(__x86_64__)
enum { MACHINE = EM_X86_64 };
#elif defined(__aarch64__)
enum { MACHINE = EM_AARCH64 };
#else
#error "archive.c: which ELF machine is this?"
#endif

enum { DATA_ALIGN = 64, NAME_ROOM = ARCHIVE_PREFIX_BYTES + 16 };

/* Sections of the object, and where their names start in section_names. */
enum section { NONE, RODATA, SYMBOLS, STRINGS, NAMES, STACK, SECTION_COUNT };
enum symbol { NO_SYMBOL, DATA_SYMBOL, BYTES_SYMBOL, SYMBOL_COUNT };
static const char section_names[] = "\0.rodata\0.symtab\0.strtab\0.shstrtab\0.note.GNU-stack";
static const Elf64_Word name_at[SECTION_COUNT] = {0, 1, 9, 17, 25, 35};

/* The object's pieces, in the order of the file. */
struct object {
    Elf64_Ehdr head;
    Elf64_Shdr sections[SECTION_COUNT];
    Elf64_Sym symbols[SYMBOL_COUNT];
    char strings[2 * NAME_ROOM]; /* "\0PREFIX_bundle_data\0PREFIX_bundle_bytes" */
    size_t data_at, size_at, bytes;
};

/* Where the pieces lie: the head, the section table, and what follows. */
enum {
    SYMBOLS_AT = sizeof(Elf64_Ehdr) + SECTION_COUNT * sizeof(Elf64_Shdr),
    NAMES_AT = SYMBOLS_AT + SYMBOL_COUNT * sizeof(Elf64_Sym),
    STRINGS_AT = NAMES_AT + sizeof section_names,
};

static size_t align_up(size_t n, size_t to) { return (n + to - 1) / to * to; }

static qrt_status check_prefix(const char *prefix)
{
    int good = isalpha((unsigned char)*prefix) || *prefix == '_';
    for (const char *c = prefix; *c; c++) good &= isalnum((unsigned char)*c) || *c == '_';
    if (good && strlen(prefix) < ARCHIVE_PREFIX_BYTES) return QRT_OK;
    return error_set(QRT_E_ARGUMENT,
                     "prefix '%.60s': a C identifier of at most %d letters is needed", prefix,
                     ARCHIVE_PREFIX_BYTES - 1);
}

/* ---- the object ---- */

static void set_section(struct object *o, enum section which, Elf64_Word type, size_t offset,
                        size_t bytes, size_t align)
{
    o->sections[which] = (Elf64_Shdr){.sh_name = name_at[which],
                                      .sh_type = type,
                                      .sh_offset = offset,
                                      .sh_size = bytes,
                                      .sh_addralign = align};
}

static void set_symbol(struct object *o, enum symbol which, size_t name, size_t at, size_t bytes)
{
    o->symbols[which] = (Elf64_Sym){.st_name = (Elf64_Word)name,
                                    .st_info = ELF64_ST_INFO(STB_GLOBAL, STT_OBJECT),
                                    .st_other = STV_HIDDEN,
                                    .st_shndx = RODATA,
                                    .st_value = at,
                                    .st_size = bytes};
}

static void set_head(struct object *o)
{
    static const unsigned char ident[EI_NIDENT] = {
        ELFMAG0, ELFMAG1, ELFMAG2, ELFMAG3, ELFCLASS64, ELFDATA2LSB, EV_CURRENT, ELFOSABI_NONE};
    o->head = (Elf64_Ehdr){.e_type = ET_REL,
                           .e_machine = MACHINE,
                           .e_version = EV_CURRENT,
                           .e_shoff = sizeof o->head,
                           .e_ehsize = sizeof o->head,
                           .e_shentsize = sizeof *o->sections,
                           .e_shnum = SECTION_COUNT,
                           .e_shstrndx = NAMES};
    memcpy(o->head.e_ident, ident, sizeof ident);
}

static void make_object(const char *prefix, size_t count, struct object *o)
{
    memset(o, 0, sizeof *o);
    const size_t first = 1, second = first + strlen(prefix) + sizeof "_bundle_data";
    const size_t strings = second + strlen(prefix) + sizeof "_bundle_bytes";
    snprintf(o->strings + first, NAME_ROOM, "%s_bundle_data", prefix);
    snprintf(o->strings + second, NAME_ROOM, "%s_bundle_bytes", prefix);
    o->data_at = align_up(STRINGS_AT + strings, DATA_ALIGN);
    o->size_at = o->data_at + align_up(count, sizeof(uint64_t));
    o->bytes = o->size_at + sizeof(uint64_t);
    set_head(o);
    set_section(o, RODATA, SHT_PROGBITS, o->data_at, o->bytes - o->data_at, DATA_ALIGN);
    o->sections[RODATA].sh_flags = SHF_ALLOC;
    set_section(o, SYMBOLS, SHT_SYMTAB, SYMBOLS_AT, sizeof o->symbols, 8);
    o->sections[SYMBOLS].sh_entsize = sizeof *o->symbols;
    o->sections[SYMBOLS].sh_link = STRINGS;
    o->sections[SYMBOLS].sh_info = DATA_SYMBOL; /* the first global one */
    set_section(o, STRINGS, SHT_STRTAB, STRINGS_AT, strings, 1);
    set_section(o, NAMES, SHT_STRTAB, NAMES_AT, sizeof section_names, 1);
    set_section(o, STACK, SHT_PROGBITS, STRINGS_AT, 0, 1); /* no executable stack */
    set_symbol(o, DATA_SYMBOL, first, 0, count);
    set_symbol(o, BYTES_SYMBOL, second, o->size_at - o->data_at, sizeof(uint64_t));
}

static void write_object(const struct object *o, const void *bytes, size_t count, uint8_t *to)
{
    const uint64_t size = count;
    memcpy(to, &o->head, sizeof o->head);
    memcpy(to + sizeof o->head, o->sections, sizeof o->sections);
    memcpy(to + SYMBOLS_AT, o->symbols, sizeof o->symbols);
    memcpy(to + NAMES_AT, section_names, sizeof section_names);
    memcpy(to + STRINGS_AT, o->strings, o->sections[STRINGS].sh_size);
    memcpy(to + o->data_at, bytes, count);
    memcpy(to + o->size_at, &size, sizeof size);
}

/* ---- the archive ---- */

/* A member's header: nobody's, of no date. */
static size_t write_member(uint8_t *to, const char *name, size_t bytes)
{
    char text[128]; /* room for more digits than there are */
    snprintf(text, sizeof text, "%-16s%-12d%-6d%-6d%-8o%-10zu%s", name, 0, 0, 0, 0644U, bytes,
             ARFMAG);
    memcpy(to, text, sizeof(struct ar_hdr));
    return sizeof(struct ar_hdr);
}

static void write_big_u32(uint8_t *to, size_t value)
{
    for (int i = 0; i < 4; i++) to[i] = (uint8_t)(value >> (24 - 8 * i));
}

/* Which member has which symbol: a count, an offset for each, their names. */
static size_t index_bytes(const struct object *o)
{
    return align_up(4 * SYMBOL_COUNT + o->sections[STRINGS].sh_size - 1, 2);
}

static void write_index(const struct object *o, size_t member_at, uint8_t *to)
{
    write_big_u32(to, SYMBOL_COUNT - 1);
    for (int i = 1; i < SYMBOL_COUNT; i++) write_big_u32(to + 4 * i, member_at);
    memcpy(to + 4 * SYMBOL_COUNT, o->strings + 1, o->sections[STRINGS].sh_size - 1);
}

qrt_status archive_library(const char *prefix, const void *bytes, size_t count, void **library,
                           size_t *library_bytes)
{
    struct object o;
    TRY(check_prefix(prefix));
    if (count > ARCHIVE_MAX_BYTES)
        return error_set(QRT_E_LIMIT,
                         "%zu bytes to link, at most %zu fit a program; --arch keeps "
                         "only some kernels",
                         count, ARCHIVE_MAX_BYTES);
    make_object(prefix, count, &o);
    const size_t index = index_bytes(&o), object_at = SARMAG + sizeof(struct ar_hdr) + index;
    const size_t all = object_at + sizeof(struct ar_hdr) + align_up(o.bytes, 2);
    uint8_t *block = calloc(1, all), *at = block;
    if (!block) return error_set(QRT_E_MEMORY, "no memory for a library of %zu bytes", all);
    memcpy(at, ARMAG, SARMAG);
    at += SARMAG;
    at += write_member(at, "/", index);
    write_index(&o, object_at, at);
    at += index;
    at += write_member(at, "bundle.o/", o.bytes);
    write_object(&o, bytes, count, at);
    *library = block;
    *library_bytes = all;
    return QRT_OK;
}

/* ---- the header ---- */

qrt_status archive_header(const char *prefix, const char *file_name, char **text)
{
    TRY(check_prefix(prefix));
    const int count = asprintf(
        text,
        "/* %s -- a bundle of kernels inside the program; made by `qgen link`\n"
        " *\n"
        " *     size_t bytes;\n"
        " *     const void *data = %s_bundle(&bytes);\n"
        " *     qrt_bundle_options how = {.size = sizeof how, .trust = QRT_TRUST_CALLER};\n"
        " *     qrt_bundle_open_memory(rt, data, bytes, &how, &bundle);\n"
        " */\n"
        "#ifndef QGEN_%s_BUNDLE_H\n#define QGEN_%s_BUNDLE_H\n\n"
        "#include <stddef.h>\n#include <stdint.h>\n\n"
        "#ifdef __cplusplus\nextern \"C\" {\n#endif\n"
        "extern const unsigned char %s_bundle_data[];\n"
        "extern const uint64_t %s_bundle_bytes;\n"
        "#ifdef __cplusplus\n}\n#endif\n\n"
        "static inline const void *%s_bundle(size_t *bytes)\n{\n"
        "    *bytes = (size_t)%s_bundle_bytes;\n"
        "    return %s_bundle_data;\n}\n\n#endif\n",
        file_name, prefix, prefix, prefix, prefix, prefix, prefix, prefix, prefix);
    return count < 0 ? error_set(QRT_E_MEMORY, "no memory for a header") : QRT_OK;
}
