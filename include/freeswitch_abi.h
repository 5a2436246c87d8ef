/* The part of FreeSWITCH's public C interface that mod_audio_stream uses.
 *
 * Input of bindgen (see build.rs) where FreeSWITCH's own headers are not installed, and of the
 * stand-in host of tests/standin/host. Sizes and offsets are asserted here and compared with the real headers
 * by tests/abi_layout.rs. See README.md beside this file for the versions covered. */
#ifndef FREESWITCH_ABI_H
#define FREESWITCH_ABI_H

#include "freeswitch_abi/types.h"

#include "freeswitch_abi/codec.h"
#include "freeswitch_abi/endpoint.h"
#include "freeswitch_abi/event.h"
#include "freeswitch_abi/media_bug.h"
#include "freeswitch_abi/module.h"
#include "freeswitch_abi/session.h"
#include "freeswitch_abi/xml.h"

#endif
