/* entries.c -- kernel entries made up by tests, and stores in folders of their own */
#include "entries.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "file.h"
#include "helpers.h"
#include "key.h"

void entries_key(int number, uint8_t key[ENTRY_KEY_BYTES])
{
    memset(key, 0x5a, ENTRY_KEY_BYTES);
    key[0] = (uint8_t)number;
}

void entries_make(int number, int fill, size_t bytes, void **out, size_t *count)
{
    struct entry e;
    memset(&e, 0, sizeof e);
    entries_key(number, e.key);
    assert_int_equal(op_desc_parse("add.f32", &e.record.desc), QRT_OK);
    strcpy(e.record.arch, "x86-64-v3");
    strcpy(e.record.symbol, "kernel");
    strcpy(e.record.template_, "x86/add");
    e.record.m_lo = 1;
    e.record.m_hi = 8;
    e.record.split = 1;
    char *image = malloc(bytes);
    assert_non_null(image);
    memset(image, fill, bytes);
    e.part[ENTRY_IMAGE].data = image;
    e.part[ENTRY_IMAGE].bytes = bytes;
    assert_int_equal(entry_serialize(&e, out, count), QRT_OK);
    free(image);
}

void entries_shard(const char *folder, int number, char out[ENTRIES_PATH])
{
    snprintf(out, ENTRIES_PATH, "%s/%02x", folder, number);
}

void entries_path(const char *folder, int number, char out[ENTRIES_PATH])
{
    uint8_t key[ENTRY_KEY_BYTES];
    char hex[KEY_HEX_BYTES];
    entries_key(number, key);
    key_hex(key, hex);
    snprintf(out, ENTRIES_PATH, "%s/%.2s/%s.qk1", folder, hex, hex);
}

void entries_write(const char *folder, int number, const void *bytes, size_t count)
{
    char path[ENTRIES_PATH];
    entries_path(folder, number, path);
    const int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    assert_true(fd >= 0);
    assert_int_equal(file_write_all(fd, bytes, count), 0);
    close(fd);
}

void *entries_get(struct store *s, int number, size_t *count)
{
    uint8_t key[ENTRY_KEY_BYTES];
    struct entry entry;
    void *bytes = NULL;
    int found = -1;
    entries_key(number, key);
    assert_int_equal(store_get(s, key, &entry, &bytes, count, &found), QRT_OK);
    assert_in_range(found, 0, 1);
    return found ? bytes : NULL;
}

void entries_folder(char out[64])
{
    strcpy(out, "/dev/shm/qgen-store-XXXXXX");
    if (mkdtemp(out)) return;
    strcpy(out, "/tmp/qgen-store-XXXXXX");
    assert_non_null(mkdtemp(out));
}

void entries_remove(const char *folder)
{
    char command[192];
    snprintf(command, sizeof command, "chmod -R u+rwx %s; rm -rf %s", folder, folder);
    assert_int_equal(system(command), 0);
}
