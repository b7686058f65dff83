/* SPDX-License-Identifier: MIT
 * The least that a FUSE server can do: one file, "value", that reads 500 and takes any write.
 * It has the options of fakeproc's mounts: direct_io, names cached, attributes not.
 */
#define FUSE_USE_VERSION 35
#include <errno.h>
#include <fuse_lowlevel.h>
#include <string.h>

enum { VALUE = 2 };
static const double ENTRY_TIMEOUT_S = 3600;

static struct stat attributes(fuse_ino_t inode)
{
	int is_root = inode == FUSE_ROOT_ID;
	return (struct stat){
		.st_ino = inode, .st_nlink = is_root ? 2 : 1, .st_mode = is_root ? S_IFDIR | 0555 : S_IFREG | 0644,
	};
}

static void do_lookup(fuse_req_t request, fuse_ino_t parent, const char *name)
{
	struct fuse_entry_param entry = {
		.ino = VALUE, .attr = attributes(VALUE), .entry_timeout = ENTRY_TIMEOUT_S,
	};
	if (parent != FUSE_ROOT_ID || strcmp(name, "value"))
		fuse_reply_err(request, ENOENT);
	else
		fuse_reply_entry(request, &entry);
}

static void do_getattr(fuse_req_t request, fuse_ino_t inode, struct fuse_file_info *info)
{
	struct stat attr = attributes(inode);
	fuse_reply_attr(request, &attr, 0);
}

static void do_setattr(fuse_req_t request, fuse_ino_t inode, struct stat *wanted, int which,
		       struct fuse_file_info *info)
{
	do_getattr(request, inode, info);
}

static void do_open(fuse_req_t request, fuse_ino_t inode, struct fuse_file_info *info)
{
	info->direct_io = 1;
	fuse_reply_open(request, info);
}

static void do_read(fuse_req_t request, fuse_ino_t inode, size_t size, off_t offset,
		    struct fuse_file_info *info)
{
	fuse_reply_buf(request, "500\n", offset == 0 ? 4 : 0);
}

static void do_write(fuse_req_t request, fuse_ino_t inode, const char *data, size_t size, off_t offset,
		     struct fuse_file_info *info)
{
	fuse_reply_write(request, size);
}

static void do_release(fuse_req_t request, fuse_ino_t inode, struct fuse_file_info *info)
{
	fuse_reply_err(request, 0);
}

static const struct fuse_lowlevel_ops operations = {
	.lookup = do_lookup, .getattr = do_getattr, .setattr = do_setattr, .open = do_open,
	.read = do_read, .write = do_write, .release = do_release,
};

/* constant MOUNTPOINT: serves until it is unmounted or ended. */
int main(int argc, char **argv)
{
	struct fuse_args args = FUSE_ARGS_INIT(1, argv);
	struct fuse_session *session = fuse_session_new(&args, &operations, sizeof operations, NULL);
	if (argc != 2 || !session || fuse_set_signal_handlers(session) || fuse_session_mount(session, argv[1]))
		return 1;
	fuse_session_loop(session);
	fuse_session_unmount(session);
	fuse_session_destroy(session);
	return 0;
}
