# Asks Jupyter itself which servers run, in the words of the new one and of the old.
LC_ALL=C
export LC_ALL
told=$(jupyter server list --jsonlist 2>/dev/null </dev/null)
case $told in
    *'"pid"'*) ;;
    *) told=$(jupyter notebook list --json 2>/dev/null </dev/null) ;;
esac
echo "listed $(printf %s "$told" | od -An -v -tx1 | tr -d ' \n')"
echo "end"
