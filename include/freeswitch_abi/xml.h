/* Configuration files, as a tree of tags. */
#ifndef FREESWITCH_ABI_XML_H
#define FREESWITCH_ABI_XML_H

#include "event.h"
#include "types.h"

typedef struct switch_xml *switch_xml_t;

/* One tag. `next` is the next of the same name beside it, which is how a list is walked: the function that FreeSWITCH
 * has for it, switch_xml_idx, is declared but not exported. The rest is read through functions. */
struct switch_xml {
	char *name;
	char **attr;
	char *txt;
	char *free_path;
	switch_size_t off;
	switch_xml_t next;
	switch_xml_t sibling;
	switch_xml_t ordered;
	switch_xml_t child;
	switch_xml_t parent;
	uint32_t flags;
	switch_bool_t is_switch_xml_root_t;
	uint32_t refs;
	const char *open;
	const char *close;
};

_Static_assert(sizeof(struct switch_xml) == 112, "size of struct switch_xml");
_Static_assert(offsetof(struct switch_xml, name) == 0, "name");
_Static_assert(offsetof(struct switch_xml, txt) == 16, "txt");
_Static_assert(offsetof(struct switch_xml, next) == 40, "next");

/* Finds the <configuration> of a file. The result is the root, to be given to switch_xml_free; `node` the configuration. */
switch_xml_t switch_xml_open_cfg(const char *file_path, switch_xml_t *node, switch_event_t *params);
switch_xml_t switch_xml_child(switch_xml_t xml, const char *name);
/* NULL when there is no such attribute. */
const char *switch_xml_attr(switch_xml_t xml, const char *attr);
/* The empty string when there is no such attribute. */
const char *switch_xml_attr_soft(switch_xml_t xml, const char *attr);
void switch_xml_free(switch_xml_t xml);
/* A file of the disk, its preprocessor directives carried out; NULL when it cannot be read. */
switch_xml_t switch_xml_parse_file(const char *file);
/* What was wrong in the file; empty when nothing was. */
const char *switch_xml_error(switch_xml_t xml);

#endif
