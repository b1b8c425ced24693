// A small cnitool on Debian's libcni: libcni ADD|CHECK|DEL|VALIDATE NETWORK NETNS
// Further input by environment: NETCONFPATH, CNI_PATH, CNI_CACHEDIR, CNI_CONTAINERID, CNI_IFNAME,
// CNI_ARGS (KEY=VALUE;KEY=VALUE) and CAP_ARGS (JSON of capability arguments).
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/containernetworking/cni/libcni"
	"github.com/containernetworking/cni/pkg/types"
)

func main() {
	if len(os.Args) != 4 {
		fail(fmt.Errorf("usage: libcni ADD|CHECK|DEL|VALIDATE NETWORK NETNS"))
	}
	list, err := libcni.LoadConfList(os.Getenv("NETCONFPATH"), os.Args[2])
	fail(err)
	attachment := &libcni.RuntimeConf{
		ContainerID: os.Getenv("CNI_CONTAINERID"),
		NetNS:       os.Args[3],
		IfName:      os.Getenv("CNI_IFNAME"),
		Args:        pairs(os.Getenv("CNI_ARGS")),
	}
	if text := os.Getenv("CAP_ARGS"); text != "" {
		fail(json.Unmarshal([]byte(text), &attachment.CapabilityArgs))
	}
	client := libcni.NewCNIConfigWithCacheDir(
		filepath.SplitList(os.Getenv("CNI_PATH")), os.Getenv("CNI_CACHEDIR"), nil)
	fail(call(client, os.Args[1], list, attachment))
}

func call(client *libcni.CNIConfig, verb string, list *libcni.NetworkConfigList,
	attachment *libcni.RuntimeConf) error {
	ctx := context.Background()
	switch verb {
	case "ADD":
		result, err := client.AddNetworkList(ctx, list, attachment)
		if err != nil {
			return err
		}
		return result.Print()
	case "CHECK":
		return client.CheckNetworkList(ctx, list, attachment)
	case "DEL":
		return client.DelNetworkList(ctx, list, attachment)
	case "VALIDATE":
		capabilities, err := client.ValidateNetworkList(ctx, list)
		if err != nil {
			return err
		}
		return json.NewEncoder(os.Stdout).Encode(capabilities)
	}
	return fmt.Errorf("unknown verb %q", verb)
}

func pairs(text string) [][2]string {
	var found [][2]string
	for _, item := range strings.Split(text, ";") {
		if key, value, ok := strings.Cut(item, "="); ok {
			found = append(found, [2]string{key, value})
		}
	}
	return found
}

// fail ends the program with a CNI error object: the code of the plugin, the words of libcni.
func fail(err error) {
	if err == nil {
		return
	}
	code := uint(types.ErrInternal)
	var known *types.Error
	if errors.As(err, &known) {
		code = known.Code
	}
	_ = types.NewError(code, err.Error(), "").Print()
	os.Exit(1)
}
